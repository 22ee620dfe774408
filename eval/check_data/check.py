"""Reads a source with the readers that convert it, and checks each row that they make."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from common.errors import UserError
from common.quality.completions import check_completion
from common.toolbench.convert import open_source
from common.toolbench.fields import BadRecord
from common.toolbench.react import ParseError, parse_step
from common.toolbench.readers.dataset_source import PREFIX
from common.toolbench.rows import PromptRow, read_values, row_from_dict
from common.toolbench.system_prompt import offered_functions
from eval.check_data.findings import Collecting, Findings

Placed = tuple[str, PromptRow]


def check(path: str, most: int) -> Findings:
    """What is wrong with the data at `path`, with at most so many examples of each kind.

    Raises UserError where there is nothing at `path`, or a data set can't be opened.
    """
    if not path.startswith(PREFIX) and not Path(path).exists():
        raise UserError(f"there is nothing at {path}; give a file or folder that exists, or {PREFIX}NAME")
    findings = Findings(most)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:.0f} rows"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("checking", total=None)
        _check(_rows(path, findings), path, findings, lambda: progress.advance(task))
    if not findings.rows:
        findings.add("no_row", path, "nothing in it can be trained or judged on")
    return findings


def _rows(path: str, findings: Findings) -> Iterator[Placed]:
    """The rows at `path`, each with where it stands, or its id, which begins with the name of its file."""
    if _is_parquet(Path(path)):
        yield from _parquet_rows(path, findings)
    else:
        yield from ((row.id, row) for row in open_source(path)(Collecting(findings)))


def _is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))


def _parquet_rows(path: str, findings: Findings) -> Iterator[Placed]:
    for place, values in read_values(path):
        try:
            yield place, row_from_dict(values)
        except UserError as error:
            findings.add("bad_row", place, str(error))


def _check(rows: Iterator[Placed], path: str, findings: Findings, advance: Callable[[], None]) -> None:
    seen: set[int] = set()
    trace = None
    try:
        for place, row in rows:
            findings.rows += 1
            findings.traces += row.trace != trace
            findings.completions += row.completion is not None
            trace = row.trace
            findings.longest = max(findings.longest, sum(len(turn.content) for turn in row.turns))
            if hash(row.id) in seen:
                findings.add("duplicate_row_id", place, f"another row has the id {row.id!r}")
            seen.add(hash(row.id))
            _check_row(place, row, findings)
            advance()
    except UserError as error:  # the source can't be read on
        findings.add("unreadable_source", path, str(error))


def _check_row(place: str, row: PromptRow, findings: Findings) -> None:
    if not row.query.strip():
        findings.add("no_query", place, "the query is empty")
    try:
        offered = _offered(row.turns[0].content) if row.turns else []
    except BadRecord as error:
        findings.add("no_offer", place, str(error))
        return
    if row.completion is not None:
        _check_completion(place, row.completion, offered, findings)


@lru_cache(maxsize=8)
def _offered(system_prompt: str) -> list[dict[str, Any]]:
    return offered_functions(system_prompt)


def _check_completion(place: str, text: str, offered: list[dict[str, Any]], findings: Findings) -> None:
    """Note the first check of its form that the recorded completion fails."""
    report = check_completion(text, offered)
    if not report.parses:
        findings.add("no_action", place, f"got {_begin(text)}, expected Thought, Action and Action Input")
    elif not report.names_offered_api:
        name = _begin(_action(text))
        findings.add("unknown_function", place, f"it calls {name}, which isn't among the {len(offered)} on offer")
    elif not report.arguments_are_json:
        findings.add("arguments_no_json", place, f"the arguments of {_begin(_action(text))} are no JSON object")
    elif not report.required_present:
        findings.add("argument_missing", place, f"the call of {_begin(_action(text))} lacks a required argument")


def _action(text: str) -> str:
    try:
        return parse_step(text).action
    except ParseError:
        return ""


def _begin(text: str) -> str:
    return repr(text.strip()[:80])
