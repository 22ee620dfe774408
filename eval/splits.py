"""Splits, and whether a model was trained on what one of them holds back.

ToolBench holds back more from split to split: `G1_instruction`, `G2_instruction` and `G3_instruction` have queries that
training lacks, `G1_tool` tools too, `G1_category` and `G2_category` whole categories. The generated world's `seen`,
`unseen_tool` and `unseen_category` do the same. A row breaks its split's rule where training has

- its query, in every split;
- a tool on offer in it, in splits by tool: one that any training prompt offers, called or not;
- the category of such a tool, in splits by category.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import yaml

from common.errors import UserError
from common.run_folder import RunFolder
from common.toolbench.fields import BadRecord
from common.toolbench.rows import PromptRow, read_rows
from common.toolbench.system_prompt import offered_functions
from common.toolbench.tools import tools_of

Split = Literal[
    "G1_instruction",
    "G1_tool",
    "G1_category",
    "G2_instruction",
    "G2_category",
    "G3_instruction",
    "seen",
    "unseen_tool",
    "unseen_category",
]
SPLITS: tuple[Split, ...] = get_args(Split)
Rule = Literal["query", "tool", "category"]
NAMED = 3
"""Leaks that an error names."""


@dataclass
class TrainedOn:
    """What a model has read in training."""

    where: str
    queries: set[str] = field(default_factory=set)
    tools: set[str] = field(default_factory=set)

    def add(self, row: PromptRow) -> None:
        """Note a row that it was trained on. Raises UserError for one whose list of functions can't be read."""
        self.queries.add(_plain(row.query))
        self.tools.update(_tools(row))


def rules_of(split: Split) -> tuple[Rule, ...]:
    """What `split` holds back."""
    if split.endswith("category"):
        return "query", "category"
    return ("query", "tool") if split.endswith("tool") else ("query",)


def trained_on(run: Path) -> TrainedOn:
    """What the student of a run folder was trained on: its `data.train`. Raises UserError where that can't be read."""
    file = RunFolder(run).config
    try:
        train = Path(yaml.safe_load(file.read_text(encoding="utf-8"))["data"]["train"])
    except OSError as error:
        raise UserError(f"can't read {file}: {error.strerror}; trained_by is the run folder of a model") from None
    except (ValueError, yaml.YAMLError, KeyError, TypeError):
        raise UserError(f"{file} names no data.train; trained_by is the run folder of a model") from None
    if not train.exists():
        raise UserError(f"{run} was trained on {train}, which isn't here; without it leakage can't be told: restore it")
    found = TrainedOn(f"{run} ({train})")
    for row in read_rows(train):
        found.add(row)
    return found


def check_split(
    group: str, split: Split, rows: Iterable[PromptRow], trained: TrainedOn, categories: dict[str, str]
) -> None:
    """Raise UserError where a row of `group` breaks a rule of `split`, naming the rule, what leaks and the first rows.

    `categories` go from a tool to its category; a split by category needs those of all tools.
    """
    rows = list(rows)
    for rule in rules_of(split):
        leaks = [(row, leak) for row in rows if (leak := _leak(rule, row, trained, categories))]
        if leaks:
            named = "; ".join(f"{row.id}: {leak}" for row, leak in leaks[:NAMED])
            raise UserError(
                f"the group {group!r} leaks by the rule of {split}, which holds back each {rule} of training: "
                f"{len(leaks)} of its {len(rows)} rows have one that {trained.where} has too ({named}); take these "
                "rows out, or judge a model that wasn't trained on them"
            )


def _leak(rule: Rule, row: PromptRow, trained: TrainedOn, categories: dict[str, str]) -> str:
    """What of `row` training had too; empty where nothing."""
    if rule == "query":
        return f"the query {row.query[:60]!r}" if _plain(row.query) in trained.queries else ""
    if rule == "tool":
        return ", ".join(sorted(_tools(row) & trained.tools))
    own, known = _categories(_tools(row), categories), _categories(trained.tools, categories)
    return ", ".join(sorted(own & known))


def _categories(tools: Iterable[str], categories: dict[str, str]) -> set[str]:
    unknown = sorted(tool for tool in tools if tool not in categories)
    if unknown:
        raise UserError(
            f"a split by category needs each tool's category, and {len(unknown)} tools have none: "
            f"{', '.join(unknown[:NAMED])}; give `world`, a generated world's folder, or `queries`, ToolBench's "
            "query records, which name them"
        )
    return {categories[tool] for tool in tools}


def _tools(row: PromptRow) -> frozenset[str]:
    try:
        return _tools_offered(row.turns[0].content)
    except BadRecord as error:
        raise UserError(f"row {row.id}: {error}") from None


@lru_cache(maxsize=64)
def _tools_offered(system_prompt: str) -> frozenset[str]:
    """Rows of a trace share their prompt."""
    return frozenset(tools_of(offered_functions(system_prompt)))


def _plain(query: str) -> str:
    """A query without what doesn't make it another one: case and white space."""
    return " ".join(query.split()).casefold()
