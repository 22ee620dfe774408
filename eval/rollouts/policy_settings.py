"""Settings of the policies that a rollout may use."""

from typing import Annotated, Literal

from pydantic import Field

from common.settings import FolderOrName, Settings, UserPath
from eval.endpoint_settings import EndpointSettings


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
    template: Literal["toolbench", "chat", "tools"] = "toolbench"
    """How turns become text: in ToolBench's own layout, by the tokenizer's chat template, or by that with tools."""
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


class EndpointPolicySettings(EndpointSettings):
    """Any endpoint of OpenAI's API that takes tools, such as another vendor's model as a black-box teacher."""

    kind: Literal["endpoint"]
    """What it is."""
    provenance: Literal["teacher", "student"] = "teacher"
    """Whose turns they are."""
    prompt_price: float = Field(default=0, ge=0)
    """Price of a million tokens of prompts, in any currency."""
    completion_price: float = Field(default=0, ge=0)
    """Price of a million tokens of completions."""


PolicySettings = Annotated[ServedPolicySettings | EndpointPolicySettings, Field(discriminator="kind")]
