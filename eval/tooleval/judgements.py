"""Judgements on disk: a line per judged item, written before the next counts, so that a killed evaluation goes on.

A judgement is known by what was asked of whom: the judge's model and settings, the item, and the whole prompt. What
changes in any of them is judged anew, and nothing else is.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter

from common import files, jsonl

FILE = "judgements.jsonl"


@dataclass(frozen=True)
class Judgement:
    """What a judge said of one item."""

    key: str
    """Digest of what was asked of whom."""
    item: str
    """What was judged, for people: kind, agent, group, query and round."""
    label: str
    reply: str
    revision: str
    """Which weights judged: the model's name and fingerprint."""
    unparsable: int
    """Replies without a label before this one."""
    prompt_tokens: int
    """Of all replies, as the next."""
    completion_tokens: int


_JUDGEMENT = TypeAdapter(Judgement)


def key_of(*asked: object) -> str:
    """The digest of what was asked of whom."""
    return sha256(json.dumps(asked).encode()).hexdigest()[:32]


class JudgementStore:
    """The judgements in `folder`, for the one process that writes there."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError naming a line that is no judgement; what a crash tore is cut off."""
        self._file = folder / FILE
        jsonl.cut_torn_line(self._file)
        lines = enumerate(jsonl.whole_lines(self._file), 1)
        self._known = {known.key: known for known in (self._read(number, line) for number, line in lines)}

    def get(self, key: str) -> Judgement | None:
        """What was judged before."""
        return self._known.get(key)

    def add(self, judgement: Judgement) -> None:
        """Write `judgement`; it is on the disk when this returns. Raises UserError, as on a full disk."""
        jsonl.append(self._file, [asdict(judgement)])
        files.flush(self._file)
        self._known[judgement.key] = judgement

    def _read(self, number: int, line: bytes) -> Judgement:
        where = f"line {number} of {self._file}"
        return jsonl.parse(line, _JUDGEMENT, where, "judgement", "its item is judged again")
