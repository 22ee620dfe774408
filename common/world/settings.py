"""Settings of the generated world: its seed and its sizes."""

from pydantic import Field

from common.settings import Settings


class WorldSettings(Settings):
    """A world is a function of these numbers alone."""

    seed: int = Field(default=0, ge=0)
    """Another gives another world of the same sizes."""
    tools_per_category: int = Field(default=6, ge=1)
    """Tools that training uses, in each training category."""
    unseen_tools_per_category: int = Field(default=2, ge=1)
    """Tools of a training category that training never uses."""
    train_tasks: int = Field(default=1200, ge=1)
    """Recorded traces of training; each gives one row per step, about 2.6."""
    query_tasks: int = Field(default=1200, ge=0)
    """Query records of training tools, without traces."""
    evaluation_tasks: int = Field(default=80, ge=1)
    """Recorded traces of each of seen, unseen_tool and unseen_category."""
    corpus_documents: int = Field(default=30000, ge=0)
    """Documents for pretraining base models."""
