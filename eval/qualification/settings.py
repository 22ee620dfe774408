"""Settings of a qualification: which teacher is examined on which rows, and what it must reach."""

from typing import Literal

from pydantic import Field

from common.quality.settings import Thresholds
from common.settings import FolderOrName, Settings, UserPath
from eval.settings import ServedModelSettings


class QualifySettings(Settings):
    """A qualification."""

    teacher: ServedModelSettings
    """Who is examined."""
    student: ServedModelSettings | None = None
    """Who is to learn from it, served before it learns; null: the overlap isn't measured."""
    data: UserPath
    """Folder of Parquet shards with recorded completions that the teacher has not read."""
    tokenizer: FolderOrName
    """Folder of the models' common tokenizer."""
    output: UserPath
    """JSON file that the figures are written to."""
    thresholds: Thresholds = Thresholds()
    """What it must reach."""
    token_file: UserPath | None = None
    """File with the API key; without it the variable TOOLAGENT_KD_TOKEN is read."""
    template: Literal["toolbench", "chat", "tools"] = "toolbench"
    """How turns become text: in ToolBench's own layout, by the tokenizer's chat template, or by that with the functions
    as its `tools` and calls in its own form."""
    rows: int = Field(default=64, ge=1)
    """Most rows of `data`, from its start."""
    top_k: int = Field(default=64, ge=1)
    """Entries per position, of which the overlap is made."""
    max_length: int = Field(default=8192, ge=16)
    """Most tokens of prompt and completion together; longer rows are left out."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Most tokens of a written completion."""
    concurrency: int = Field(default=16, ge=1)
    """Sequences in flight."""
    timeout_s: float = Field(default=120, gt=0)
    """Longest wait for one answer."""
    patience_s: float = Field(default=60, ge=0, allow_inf_nan=False)
    """How long is waited while a model's service doesn't answer."""
