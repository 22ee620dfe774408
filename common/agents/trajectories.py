"""Trajectories on disk: a line per episode while they are made, one Parquet data set when all are done.

Each line is flushed before the next episode counts as done, so that whoever goes on after a crash loses none and
repeats none; a last line that was torn is dropped, and its episode is run again.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from common import files, jsonl
from common.agents.types import Trajectory
from common.errors import UserError

EPISODES = "episodes.jsonl"
DATASET = "trajectories.parquet"
TREES = "answers"
"""Folder of the answer trees of searches that make them, in ToolBench's form."""

_TRAJECTORY = TypeAdapter(Trajectory)
_TURN = pa.struct({"role": pa.string(), "content": pa.string()})
_WRITTEN = pa.struct(
    {
        "text": pa.string(),
        "reasoning": pa.string(),
        "finish_reason": pa.string(),
        "revision": pa.string(),
        "token_ids": pa.list_(pa.int32()),
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
    }
)
_STEP = pa.struct(
    {
        "said_before": pa.list_(_TURN),
        "shown": pa.string(),
        "written": _WRITTEN,
        "action": pa.struct({"name": pa.string(), "arguments": pa.string()}),
        "observation": pa.struct({"text": pa.string(), "status": pa.int32(), "solved": pa.bool_()}),
    }
)
SCHEMA = pa.schema(
    {
        "episode": pa.string(),
        "task": pa.string(),
        "query": pa.string(),
        "group": pa.string(),
        "opening": pa.list_(_TURN),
        "steps": pa.list_(_STEP),
        "stop": pa.string(),
        "solved": pa.bool_(),
        "final_answer": pa.string(),
        "provenance": pa.string(),
        "seconds": pa.float64(),
        "queries": pa.int64(),
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
    }
)


class TrajectoryStore:
    """The trajectories in `folder`. One process writes to it at a time."""

    def __init__(self, folder: Path) -> None:
        self._file, self._folder = folder / EPISODES, folder
        self._writes = False

    def read(self) -> list[Trajectory]:
        """All that were written, one per episode, whoever writes more meanwhile. What a crash tore is passed over.

        Raises UserError naming a line that isn't a trajectory, or an episode that stands there twice.
        """
        lines = jsonl.whole_lines(self._file)
        trajectories = [self._read_line(number, line) for number, line in enumerate(lines, 1)]
        check_ids((trajectory.episode for trajectory in trajectories), f"episodes in {self._file}")
        return trajectories

    def add(self, trajectory: Trajectory) -> None:
        """Write `trajectory`; it is on the disk when this returns. Raises UserError, as on a full disk."""
        if not self._writes:
            jsonl.cut_torn_line(self._file)
            self._writes = True
        jsonl.append(self._file, [_as_unicode(asdict(trajectory))])
        files.flush(self._file)

    def finish(self) -> Path:
        """Write all trajectories as one Parquet file, and the trees beside it as ToolBench's; returns the file."""
        trajectories = sorted(self.read(), key=lambda trajectory: trajectory.episode)
        rows = [asdict(trajectory) | {"tree": None} for trajectory in trajectories]
        table = pa.Table.from_pylist(rows, SCHEMA)
        with files.file_in_place(self._folder / DATASET) as draft:
            pq.write_table(table, draft, compression="zstd")
        self._write_trees(trajectories)
        return self._folder / DATASET

    def _write_trees(self, trajectories: Iterable[Trajectory]) -> None:
        trees = [trajectory for trajectory in trajectories if trajectory.tree is not None]
        if trees:
            with files.folder_in_place(self._folder / TREES) as draft:
                for trajectory in trees:
                    task, _, sample = trajectory.episode.rpartition("/")
                    text = json.dumps(trajectory.tree, ensure_ascii=False, indent=1)
                    (draft / f"{quote(task, safe=' ')}_{sample}.json").write_text(text, encoding="utf-8")

    def _read_line(self, number: int, line: bytes) -> Trajectory:
        where = f"line {number} of {self._file}"
        return jsonl.parse(line, _TRAJECTORY, where, "trajectory", "its episode is run again")


def _as_unicode(line: jsonl.Line) -> jsonl.Line:
    """`line`, in which half a surrogate pair, which no reader would take, is a question mark."""
    whole: jsonl.Line = json.loads(json.dumps(line, ensure_ascii=False).encode(errors="replace"))
    return whole


def check_ids(ids: Iterable[str], what: str) -> None:
    """Raises UserError naming an id that comes twice among `what`."""
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise UserError(f"{what}: got the id {id!r} twice, expected each once; remove or rename one")
        seen.add(id)
