"""A JSON file as text of which about one record and one chunk is in memory."""

import codecs
import json
import re
import sys
from typing import Any, BinaryIO

from common.toolbench.fields import BadRecord
from common.toolbench.readers.record_boundaries import LONGEST_BOUNDARY, RecordBoundaries

CHUNK = 1 << 20
"""Bytes read at once."""
RECORD_LIMIT = 1 << 26
"""Characters of the longest record that is read."""
LOOKAHEAD = 16
"""Characters by which JSON's tokens are told; an error nearer to the buffer's end may be a token cut in two."""
ERRORS = "surrogateescape"
"""Bytes that are no text become lone surrogates, which readers of fields refuse by name."""

BLANKS = re.compile(r"[ \t\r\n\ufeff]*")


class JsonBuffer:
    """What is read of a file and not yet used up; `at` is where the next record begins in `text`."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self.text, self.at = "", 0
        self._file, self._encoding = file, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(ERRORS)
        self._bytes_read, self._ended = 0, False
        self._before = ""  # what stood before `text`, as far as it matters to where a line begins
        self._key: str | None = None

    @property
    def byte(self) -> int:
        """Where in the file `at` is, in bytes."""
        mark = len("".encode(self._encoding))
        unused = len(self.text[self.at :].encode(self._encoding, ERRORS)) - mark
        return self._bytes_read - len(self._decoder.getstate()[0]) - unused

    def peek(self) -> str:
        """Go to the next character that isn't blank, and return it; "" at the end of the file."""
        while True:
            self.at = _end(BLANKS.match(self.text, self.at))
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def take(self) -> Any:
        """Decode the record at `at` and go behind it; raises BadRecord, standing still, when it is broken."""
        while True:
            try:
                record, self.at = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos + LOOKAHEAD > len(self.text)
                if cut and len(self.text) - self.at < RECORD_LIMIT and self._more():
                    continue
                near = error.doc[max(0, error.pos - 20) : error.pos + 20]
                raise BadRecord("broken_json", f"broken JSON ({error.msg}: {near!r})") from None
            except RecursionError:
                raise BadRecord("broken_json", "broken JSON (nested too deeply)") from None
            except ValueError:  # Python's own limit, against numbers that take very long to read
                limit = sys.get_int_max_str_digits()
                message = f"the record holds a whole number of more than {limit} digits; write it as text"
                raise BadRecord("too_many_digits", message) from None
            if self._key is None and isinstance(record, dict):
                self._key = next(iter(record), None)
            return record

    def skip(self, separator: str, by_brackets: bool) -> bool:
        """Go behind the broken record at `at`, `by_brackets` or to where another seems to begin, whichever is nearer.

        `separator` stands between records. False, at the end of the file, when neither is found.
        """
        line = self._before_at().rpartition("\n")[2]
        boundaries = RecordBoundaries(self.text, self.at, line, self._key, separator)
        while True:
            begin = boundaries.next_record(self.text, self.at + 1)
            end = boundaries.end_by_brackets(self.text, self.at, begin, self._ended) if by_brackets else None
            nearest = begin if end is None else end
            if nearest is not None:
                self.at = nearest
                return True
            if self._ended:
                return False
            if len(self.text) - self.at >= RECORD_LIMIT:
                self.at, by_brackets = len(self.text) - LONGEST_BOUNDARY, False
            self._more()

    def exhaust(self) -> None:
        """Go to the end of the file."""
        while not self._ended:
            self.at = len(self.text)
            self._more()
        self.at = len(self.text)

    def _more(self) -> bool:
        """Read on, at least as much as is still unused, and forget what is used up; False at the end of the file."""
        unused = self.text[self.at :]
        read = self._file.read(max(CHUNK, len(unused)))
        self._bytes_read += len(read)
        self._before = self._before_at()
        self.text, self.at = unused + self._decoder.decode(read, final=not read), 0
        self._ended = not read
        return bool(read) or len(self.text) > len(unused)

    def _before_at(self) -> str:
        return (self._before + self.text[max(0, self.at - LONGEST_BOUNDARY) : self.at])[-LONGEST_BOUNDARY:]


def _end(match: re.Match[str] | None) -> int:
    assert match is not None, "a pattern of nothing but blanks matches anywhere"
    return match.end()


def _refuse(constant: str) -> None:
    raise BadRecord("not_a_number", f"the record holds {constant}, which isn't JSON; write null or a number")


DECODER = json.JSONDecoder(parse_constant=_refuse)
