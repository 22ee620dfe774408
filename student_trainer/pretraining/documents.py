"""Documents to pretrain on: JSONL files with one {"text": …, "kind": …, "answers": [[0, 4], …]} a line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError

_FORM = '{"text": …} or {"text": …, "kind": "…", "answers": [[first character, the one after the last], …]}'


class Document(NamedTuple):
    """A text, its kind, and the parts of it that what stands before them tells, as ranges of characters."""

    text: str
    kind: str = ""
    answers: tuple[tuple[int, int], ...] = ()


def read_documents(paths: Sequence[Path]) -> list[Document]:
    """Return the documents of JSONL files, in order; other keys of a line are left alone.

    Raises UserError naming the file and line.
    """
    documents = [document for path in paths for document in _read(path)]
    if not documents:
        raise UserError('got no documents, expected JSONL files with one {"text": …} a line')
    return documents


def _read(path: Path) -> Iterator[Document]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"can't read the documents in {path}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        document = _parse(line)
        if document is None:
            raise UserError(f"{path}, line {number}: got {line[:60]!r}, expected JSON such as {_FORM}")
        yield document


def _parse(line: str) -> Document | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    text, kind, answers = record.get("text"), record.get("kind", ""), record.get("answers", [])
    if not isinstance(text, str) or not isinstance(kind, str) or not isinstance(answers, list):
        return None
    if not all(_is_range(each, len(text)) for each in answers):
        return None
    return Document(text, kind, tuple((first, end) for first, end in answers))


def _is_range(value: Any, length: int) -> bool:
    return (
        isinstance(value, list) and [type(each) for each in value] == [int, int] and 0 <= value[0] < value[1] <= length
    )
