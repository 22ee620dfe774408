"""Documents to pretrain on: JSONL files with one {"text": …} a line."""

import json
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError


def read_documents(paths: Sequence[Path]) -> list[str]:
    """Return the texts of JSONL files, in order.

    Raises UserError naming the file and line.
    """
    texts = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UserError(f"can't read the documents in {path}: {error.strerror}") from None
        texts += [_text(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    if not texts:
        raise UserError('got no documents, expected JSONL files with one {"text": …} a line')
    return texts


def _text(line: str, place: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        raise UserError(f'{place}: got {line[:60]!r}, expected JSON such as {{"text": …}}') from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise UserError(f'{place}: got no string under "text"; give one {{"text": …}} a line')
    return str(record["text"])
