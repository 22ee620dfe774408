"""Settings of a qualification: what a teacher must reach."""

from pydantic import Field

from common.settings import Settings


class Thresholds(Settings):
    """A teacher is qualified where all of them hold. What they were chosen by: the table in README.md."""

    min_form: float = Field(default=0.8, ge=0, le=1)
    """Share of its completions that are a Thought, an Action and an Action Input."""
    min_known_api: float = Field(default=0.7, ge=0, le=1)
    """Share that call an API on offer."""
    min_arguments: float = Field(default=0.6, ge=0, le=1)
    """Share that call one with a JSON object that has every parameter the API requires."""
    max_perplexity: float = Field(default=2.0, ge=1)
    """Perplexity of the recorded completions' tokens."""
    max_calibration_error: float = Field(default=0.1, ge=0, le=1)
    """Expected calibration error on the recorded completions' tokens."""
    min_overlap: float = Field(default=0.1, ge=0, le=1)
    """Mass that it and the student both give to the ids in both top-k sets, where the student is served too."""
