"""Records of a JSON file, one in memory at a time: of an array, or of JSON Lines.

A record in error is named and stepped over, and those behind it are read. That is what parsers of a whole stream, ijson
among them, don't offer: after its first error such a parser is lost. So `json` decodes each record by itself here, out
of a buffer that holds about one record and one chunk. UTF-8, UTF-16 and UTF-32 are told by their mark or their zeros.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.readers.json_buffer import JsonBuffer

LOST = "rest_lost"
"""Reason of a record behind which no other can be told, up to the file's end."""


def json_records(path: Path) -> Iterator[Any]:
    """Yield the file's records in order, and a BadRecord in place of each broken one.

    Its reason is "broken_json", "not_a_number", "too_many_digits", or "rest_lost" where those behind it are lost too.
    Raises UserError when the file can't be read.
    """
    try:
        with path.open("rb") as file:
            encoding = json.detect_encoding(file.read(4))
            file.seek(0)
            yield from _records(JsonBuffer(file, encoding))
    except UnicodeError as error:
        yield BadRecord("broken_json", f"from here on the file is no {encoding} ({error}); save it as UTF-8")
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}; give a file or folder that exists") from None


def _records(buffer: JsonBuffer) -> Iterator[Any]:
    array = buffer.peek() == "["
    if array:
        buffer.at += 1
    elif not buffer.peek():
        yield BadRecord("broken_json", "the file is empty")
    while character := buffer.peek():
        if character == ",":
            buffer.at += 1
            continue
        if array and character == "]":
            buffer.at += 1
            if not buffer.peek():
                return
            stray = BadRecord("broken_json", "text stands behind the array's end")
            record = _skip(buffer, array, stray, by_brackets=False)
        else:
            record = _take(buffer, array)
        yield record
        if isinstance(record, BadRecord) and record.reason == LOST:
            return
    if array:
        yield BadRecord("broken_json", "the file ends within its array; what may have followed is lost")


def _take(buffer: JsonBuffer, array: bool) -> Any:
    """The next record, or the error for which it was stepped over."""
    try:
        return buffer.take()
    except BadRecord as error:
        return _skip(buffer, array, error)


def _skip(buffer: JsonBuffer, array: bool, error: BadRecord, by_brackets: bool = True) -> BadRecord:
    """Go behind a broken record, if need be to the file's end; returns its error, which then says so."""
    begin = buffer.byte
    if buffer.skip("," if array else "\n", by_brackets):
        return error
    buffer.exhaust()
    lost = f"the file's last {buffer.byte - begin} bytes, from byte {begin} on, are lost"
    return BadRecord(LOST, f"{error}, and no record can be told behind it: {lost}")
