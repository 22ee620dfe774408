"""An endpoint of OpenAI's API, opened from its settings: an agent's policy asks it, or a judge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openai import AsyncOpenAI

from common.agents.policies.chat_endpoint import ChatEndpoint
from common.teacher_client.settings import read_token
from eval.endpoint_settings import EndpointSettings


@asynccontextmanager
async def open_endpoint(settings: EndpointSettings) -> AsyncIterator[ChatEndpoint]:
    """The endpoint that `settings` name. Raises UserError where there is no API key."""
    token = read_token(settings.token_file)
    async with AsyncOpenAI(
        api_key=token, base_url=settings.url, timeout=settings.timeout_s, max_retries=settings.retries
    ) as client:
        yield ChatEndpoint(client, settings.model)
