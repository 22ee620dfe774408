"""Settings of the generated world: its seed, its difficulty and its sizes."""

from typing import Literal

from pydantic import Field

from common.settings import Settings

Difficulty = Literal["named", "described", "reworded", "full"]


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
    tools_per_category: int | None = Field(default=None, ge=1)
    """Tools that training may use, in each training category; null: 6 where `difficulty` is `named`, else 100, more
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
