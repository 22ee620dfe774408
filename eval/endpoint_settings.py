"""Settings of an endpoint of OpenAI's API that evaluation asks."""

from pydantic import Field

from common.settings import Settings, UserPath


class EndpointSettings(Settings):
    """One model of an endpoint of OpenAI's API; every model that this project serves is one too."""

    url: str
    """Base address, its version included, e.g. https://api.example.com/v1 or http://127.0.0.1:8000/teacher/v1."""
    model: str
    """Name of the model there."""
    token_file: UserPath | None = None
    """File with the API key; without it the variable TOOLAGENT_KD_TOKEN is read."""
    timeout_s: float = Field(default=120, gt=0)
    """Longest wait for one answer."""
    retries: int = Field(default=5, ge=0)
    """Further tries of a request that an overloaded or unreachable endpoint didn't answer."""
