"""Settings of the generated world: its seed, its difficulty and its sizes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.settings import Settings

Difficulty = Literal["named", "described", "reworded", "full"]


Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CorpusShares(Settings):
    """Shares of the kinds of documents, in whatever unit: 0 leaves a kind out. They hold where names are codes."""

    copying: Share = 8
    """Words repeated in other dress."""
    recall: Share = 7
    """Names of functions by what they are for, in the same words."""
    equal_words: Share = 20
    """Which function of a list gives what a note needs, in a word of its description."""
    other_words: Share = 20
    """Which function gives what a note needs, in another word for the same."""
    prompts: Share = 30
    """Whole prompts with observations and notes on them."""
    pages: Share = 3
    """Documentation of tools."""
    reports: Share = 5
    """Queries with observations and answers."""
    prose: Share = 7
    """Which words mean the same, and everyday sentences."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("all shares are 0: give one kind of documents at least")
        return self


class WorldSettings(Settings):
    """A world is a function of these alone."""

    seed: int = Field(default=0, ge=0)
    """Another gives another world of the same sizes."""
    difficulty: Difficulty = "named"
    """What it takes to choose an API. `named`: its name holds the query's word; the shipped base models can learn it.
    `described`: names are codes, and its description holds the query's word. `reworded`: as that, but a share of
    queries says it in another word than the description. `full`: as that, with twins that differ in one word of their
    descriptions, parts of things found by chained ids, units, schemas that vary, and APIs that fail."""
    other_words: float = Field(default=0.5, ge=0, le=1)
    """Share of queries that say it in another word than descriptions, where `difficulty` is `reworded` or `full`."""
    offered: int = Field(default=6, ge=2)
    """APIs on offer in a task that tell attributes, where `difficulty` isn't `named`; others may find ids. The more,
    the less luck helps."""
    tools_per_category: int | None = Field(default=None, ge=1)
    """Tools that training may use, in each training category; null: 6 where `difficulty` is `named`, else 200, more
    than can be learnt by heart."""
    unseen_tools_per_category: int | None = Field(default=None, ge=1)
    """Tools of a category that training never uses; null: 2 where `difficulty` is `named`, else 4."""
    train_tasks: int = Field(default=1200, ge=1)
    """Recorded traces of training; each gives one row per step, about 2.6 where `difficulty` is `named`."""
    query_tasks: int = Field(default=1200, ge=0)
    """Query records of training tools, without traces."""
    evaluation_tasks: int = Field(default=80, ge=1)
    """Recorded traces of each of seen, unseen_tool and unseen_category."""
    corpus_documents: int = Field(default=30000, ge=0)
    """Documents for pretraining base models."""
    corpus: CorpusShares = CorpusShares()
    """Which kinds of them, in which shares, where `difficulty` isn't `named`."""
