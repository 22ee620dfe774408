"""Settings of the policies that a rollout may use."""

from typing import Literal

from pydantic import Field

from common.settings import FolderOrName, Settings, UserPath


class ServedPolicySettings(Settings):
    """A model that this project serves, asked through its distillation API."""

    kind: Literal["served"] = "served"
    """What it is."""
    url: str | list[str]
    """Base address of its application, e.g. http://127.0.0.1:8000/student; or several of the same."""
    model: str
    """Name of the served model or adapter."""
    tokenizer: FolderOrName
    """Folder of the model's tokenizer."""
    template: Literal["toolbench", "chat"] = "toolbench"
    """How turns become text: in ToolBench's own layout, or by the tokenizer's chat template."""
    provenance: Literal["teacher", "student"] = "student"
    """Whose turns they are."""
    max_length: int = Field(default=8192, ge=16)
    """Most tokens of prompt and completion together; an episode that reaches it ends."""
    token_file: UserPath | None = None
    """File with the API key; without it the variable TOOLAGENT_KD_TOKEN is read."""
    timeout_s: float = Field(default=120, gt=0)
    """Longest wait for one answer."""
    patience_s: float = Field(default=60, ge=0, allow_inf_nan=False)
    """How long is waited while the service doesn't answer."""


PolicySettings = ServedPolicySettings
