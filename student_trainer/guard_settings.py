"""Settings of what guards a run: the teacher's qualification, and the watchdog over its student. Torch-free."""

from pydantic import Field

from common.quality.settings import Thresholds
from common.settings import Settings


class QualificationSettings(Settings):
    """A live teacher is examined on held-out rows before the first step."""

    thresholds: Thresholds = Thresholds()
    """What it must reach."""
    rows: int = Field(default=32, ge=1)
    """Most rows of `data.validation`, from its start."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Most tokens of a completion that it writes."""
    timeout_s: float = Field(default=300, gt=0)
    """Longest time for all of it; rows without an answer by then are left out."""


class WatchdogSettings(Settings):
    """The student writes completions for held-out prompts while it learns; a collapse of their format ends the run."""

    every: int = Field(default=25, ge=1)
    """Steps between checks; one that would take more than `time_share` waits for the next."""
    prompts: int = Field(default=8, ge=1)
    """Most prompts, taken evenly from the held-out slice; those that offer no functions are left out."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Most tokens of a completion."""
    time_share: float = Field(default=0.03, gt=0, le=1)
    """Largest share of the run's time so far that checks may take; the first, whose cost isn't known, aside."""
