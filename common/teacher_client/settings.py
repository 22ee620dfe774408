"""Settings of the client of a teacher: where it is, its API key, what it is asked, how long it is waited for."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from common.api import MAX_TOP_K
from common.errors import UserError
from common.settings import Settings, UserPath

TOKEN_VARIABLE = "TOOLAGENT_KD_TOKEN"


class TeacherClientSettings(Settings):
    """A teacher, at one address or several."""

    url: str | list[str]
    """Base address, e.g. http://teacher:8000/teacher; or several of the same teacher, none of them twice."""
    model: str
    """Name of the served model or adapter."""
    token_file: UserPath | None = None
    """File with the API key; without it the variable TOOLAGENT_KD_TOKEN is read."""
    top_k: int = Field(default=64, ge=1, le=MAX_TOP_K)
    """Entries per position that an answer holds."""
    logprob_dtype: Literal["float16", "float32"] = "float16"
    """Type of an answer's top-k logprobs."""
    timeout_s: float = Field(default=120, gt=0)
    """Longest wait for one answer."""
    attempts: int = Field(default=6, ge=1)
    """Tries of one request, with exponential backoff, before its prompt is set aside, if others are answered."""
    patience_s: float = Field(default=600, ge=0, allow_inf_nan=False)
    """How long is waited while no teacher answers, before giving up."""
    on_new_revision: Literal["stop", "accept"] = "stop"
    """When the teacher's weights change meanwhile: stop, or go on with both and say so in the log."""

    @property
    def urls(self) -> list[str]:
        """All addresses."""
        return [self.url] if isinstance(self.url, str) else self.url

    @model_validator(mode="after")
    def _different_urls(self) -> "TeacherClientSettings":
        bare = [url.rstrip("/") for url in self.urls]
        if not bare or len(set(bare)) < len(bare):
            raise ValueError(f"got url {self.url}, expected at least one address, each different")
        return self


def read_token(token_file: Path | None) -> str:
    """The teacher's API key: from `token_file`, else from the environment variable TOOLAGENT_KD_TOKEN.

    Raises UserError when neither gives one.
    """
    if token_file is None:
        token, source = os.environ.get(TOKEN_VARIABLE, ""), f"the environment variable {TOKEN_VARIABLE}"
    else:
        try:
            token, source = token_file.read_text(encoding="utf-8"), f"the token file {token_file}"
        except OSError as error:
            raise UserError(f"can't read the token file {token_file}: {error.strerror}") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{source} holds no usable token; expected one line of printable ASCII without spaces "
            f"(set token_file, or {TOKEN_VARIABLE})"
        )
    return token
