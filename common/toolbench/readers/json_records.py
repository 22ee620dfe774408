"""Records of a JSON file, one in memory at a time: of an array, or of JSON Lines.

A record in error is named and stepped over, and those behind it are read. That is what parsers of a whole stream, ijson
among them, don't offer: after its first error such a parser is lost. So `json` decodes each record by itself here, out
of a buffer that holds about one record and one chunk. UTF-8, UTF-16 and UTF-32 are told by their mark or their zeros.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from common.errors import UserError
from common.toolbench.fields import BadRecord

CHUNK = 1 << 20
"""Characters read at once."""
RECORD_LIMIT = 1 << 26
"""Characters of the longest record that is read."""
LOOKAHEAD = 16
"""Characters by which JSON's tokens are told; an error nearer to the buffer's end may be a token cut in two."""

BLANKS = re.compile(r"[ \t\r\n\ufeff]*")
TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},"]', re.DOTALL)


def json_records(path: Path) -> Iterator[Any]:
    """Yield the file's records in order, and a BadRecord ("broken_json", "not_a_number") in place of each broken one.

    Raises UserError when the file can't be read.
    """
    try:
        with path.open("rb") as file:
            encoding = json.detect_encoding(file.read(4))
        # Bytes that are no text become lone surrogates, which readers of fields refuse by name.
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as text:
            yield from _records(_Buffer(text))
    except UnicodeError as error:
        yield BadRecord("broken_json", f"from here on the file is no {encoding} ({error}); save it as UTF-8")
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; give a file or folder that exists") from None


def _records(buffer: "_Buffer") -> Iterator[Any]:
    array = buffer.peek() == "["
    if array:
        buffer.at += 1
    elif not buffer.peek():
        yield BadRecord("broken_json", "the file is empty")
    record = None
    while character := buffer.peek():
        if character == ",":
            buffer.at += 1
        elif array and character == "]":
            buffer.at += 1
            if buffer.peek():
                yield BadRecord("broken_json", "text stands behind the array's end and is not read")
            return
        else:
            record = _take(buffer, array)
            yield record
    if array and not isinstance(record, BadRecord):
        yield BadRecord("broken_json", "the file ends within its array; what may have followed is lost")


def _take(buffer: "_Buffer", array: bool) -> Any:
    """The next record, or the error for which it was stepped over."""
    try:
        return buffer.take()
    except BadRecord as error:
        if array:
            buffer.skip_element()
        else:
            buffer.skip_line()
        return error


class _Buffer:
    """What is read of a file and not yet used up; `at` is where the next record begins in `text`."""

    def __init__(self, file: TextIO) -> None:
        self.text, self.at = "", 0
        self._file = file

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
                return record
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos + LOOKAHEAD > len(self.text)
                if cut and len(self.text) - self.at < RECORD_LIMIT and self._more():
                    continue
                near = error.doc[max(0, error.pos - 20) : error.pos + 20]
                raise BadRecord("broken_json", f"broken JSON ({error.msg}: {near!r})") from None
            except RecursionError:
                raise BadRecord("broken_json", "broken JSON (nested too deeply)") from None

    def skip_line(self) -> None:
        """Go to the end of the line."""
        while (end := self.text.find("\n", self.at)) < 0:
            self.at = len(self.text)
            if not self._more():
                return
        self.at = end + 1

    def skip_element(self) -> None:
        """Go behind an array's element by its brackets and strings alone."""
        depth = 0
        while True:
            token = TOKEN.search(self.text, self.at)
            if token is None or token[0] == '"':  # no token left, or a string of which the end isn't read yet
                self.at = len(self.text) if token is None else token.start()
                if not self._more():
                    self.at = len(self.text)
                    return
            elif depth == 0 and token[0] in ",]":
                self.at = token.start()
                return
            else:
                depth += (token[0] in "[{") - (token[0] in "]}" and depth > 0)
                self.at = token.end()

    def _more(self) -> bool:
        """Read on, at least as much as is still unused, and forget what is used up; False at the end of the file."""
        unused = self.text[self.at :]
        read = self._file.read(max(CHUNK, len(unused)))
        self.text, self.at = unused + read, 0
        return bool(read)


def _end(match: re.Match[str] | None) -> int:
    assert match is not None, "a pattern of nothing but blanks matches anywhere"
    return match.end()


def _refuse(constant: str) -> None:
    raise BadRecord("not_a_number", f"the record holds {constant}, which isn't JSON; write null or a number")


DECODER = json.JSONDecoder(parse_constant=_refuse)
