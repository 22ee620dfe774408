"""Settings of an evaluation: which served models are judged on which groups of rows."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from common.settings import FolderOrName, Settings, UserPath
from eval.splits import Split


class ServedModelSettings(Settings):
    """One model, judged through the HTTP API that serves it."""

    url: str
    """Base address of its application, e.g. http://127.0.0.1:8000/teacher."""
    model: str
    """Name of the served model or adapter."""
    trained_by: UserPath | None = None
    """Its run folder, which says what it was trained on: groups with a `split` are checked against that."""


class GroupSettings(Settings):
    """A group of rows."""

    rows: UserPath
    """Its folder of Parquet shards, with recorded completions."""
    split: Split | None = None
    """Which split it is: a model that was trained on what that holds back is refused."""

    @model_validator(mode="before")
    @classmethod
    def _with_rows(cls, group: Any) -> Any:
        return {"rows": group} if isinstance(group, str | Path) else group


class EvalSettings(Settings):
    """An evaluation."""

    models: dict[str, ServedModelSettings]
    """What the report calls each model: where it is served."""
    groups: dict[str, GroupSettings]
    """What the report calls each group of rows: its folder of Parquet shards, with recorded completions, or that as
    `rows` beside its `split`."""
    world: UserPath | None = None
    """Folder of the generated world that the rows are of: it knows how surprising its wording has to be, and the
    categories of its tools."""
    queries: UserPath | None = None
    """ToolBench's query records, a file or a folder of them, which name the categories of tools."""
    tokenizer: FolderOrName
    """Folder of the models' common tokenizer."""
    output: UserPath
    """JSON file that the figures are written to."""
    token_file: UserPath | None = None
    """File with the API key; without it the variable TOOLAGENT_KD_TOKEN is read."""
    template: Literal["toolbench", "chat", "tools"] = "toolbench"
    """How turns become text: in ToolBench's own layout, by the tokenizer's chat template, or by that with the functions
    as its `tools` and calls in its own form."""
    rows: int = Field(default=200, ge=1)
    """Most rows of each group, from its start."""
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
