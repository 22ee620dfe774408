"""One model behind any endpoint of OpenAI's API, asked for chat completions: by agents, and by judges of their answers.

What becomes of each kind of failure is decided here alone.
"""

from collections.abc import Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached, Sampling
from common.errors import UserError
from common.toolbench.openai_messages import Message

SEEDS = 2**31
"""Seeds that every endpoint takes."""
TOO_LONG = ("context_length_exceeded", "maximum context length")
"""What a refusal of a conversation that has become too long says: OpenAI's code, or vLLM's words, which has no code."""


class ChatEndpoint:
    """Asks `client` for completions of `model`; retries are the client's own."""

    def __init__(self, client: openai.AsyncOpenAI, model: str) -> None:
        self._client, self.model = client, model

    async def complete(self, messages: Sequence[Message], sampling: Sampling, **fields: Any) -> ChatCompletion:
        """`sampling.n` choices of what could follow `messages`; `fields` are further ones of the request.

        Raises InfrastructureFailure; BoundReached where the messages are too long; UserError where the endpoint refuses
        for a reason that stays, or a prefix is asked for, which OpenAI's API can't give.
        """
        if sampling.prefix:
            raise UserError(f"got a prefix for {self.model}, but an endpoint of OpenAI's API can't go on from one")
        answer = await self._ask(self._body(messages, sampling) | fields)
        if not isinstance(answer, ChatCompletion):  # the client hands on what is no JSON object as it is
            raise InfrastructureFailure(f"{self.model} gave {str(answer)[:80]!r}, expected a JSON object")
        choices = [choice for choice in answer.choices or [] if choice.message]
        if len(choices) != sampling.n:
            raise InfrastructureFailure(f"{self.model} gave {len(choices)} choices, expected {sampling.n}")
        return answer

    async def _ask(self, body: dict[str, Any]) -> object:
        try:
            return await self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        except openai.APIStatusError as error:
            raise _refusal(error, self.model) from None
        except openai.APIConnectionError as error:
            raise InfrastructureFailure(f"{self.model} can't be reached: {error}") from None
        except ValueError as error:
            raise InfrastructureFailure(f"{self.model} gave no JSON: {error}") from None

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": list(messages),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed % SEEDS,
            "n": sampling.n,
            "max_completion_tokens": sampling.max_tokens,
        }


def _refusal(error: openai.APIStatusError, model: str) -> Exception:
    """What an answer of 4xx or 5xx means: the conversation is too long, the endpoint is ill, or it will never do."""
    code, words = TOO_LONG
    if error.code == code or words in error.message:
        return BoundReached("max_length")
    said = f"{model} answers {error.status_code}: {error.message}"
    if error.status_code >= 500 or error.status_code in (408, 409, 429):
        return InfrastructureFailure(said)
    return UserError(f"{said}; mend the settings of this endpoint")


def revision_of(answer: ChatCompletion) -> str:
    """Which weights wrote `answer`: the model, and its fingerprint where the endpoint has one."""
    return f"{answer.model}@{answer.system_fingerprint or ''}"


def whole_text(text: str) -> str:
    """`text`, in which half a surrogate pair, which JSON may hold and UTF-8 can't, is a question mark."""
    return text.encode(errors="replace").decode()
