"""Any endpoint of OpenAI's API as a policy, so that a black-box teacher's trajectories become training data too.

Turns are sent as messages with tools, and what comes back is written in ToolBench's form: a call is a step with the
text beside it as its Thought, text alone is the call Finish with that text as its answer.
"""

from collections.abc import Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessage

from common.agents.environment import InfrastructureFailure
from common.agents.policy import BoundReached, Sampling
from common.agents.types import WrittenTurn
from common.errors import UserError
from common.sequences import Provenance
from common.toolbench.finish import finish_with
from common.toolbench.openai_messages import Message, to_openai
from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn

SEEDS = 2**31
"""Seeds that every endpoint takes."""
TOO_LONG = ("context_length_exceeded", "maximum context length")
"""What a refusal of a conversation that has become too long says: OpenAI's code, or vLLM's words, which has no code."""


class EndpointPolicy:
    """Asks `client` for turns of `model`; retries are the client's own."""

    def __init__(self, client: openai.AsyncOpenAI, model: str, provenance: Provenance) -> None:
        self._client, self._model, self._provenance = client, model, provenance

    @property
    def provenance(self) -> Provenance:
        """Whether its turns are a teacher's or a student's."""
        return self._provenance

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        """As `Policy.write`.

        Raises UserError where the endpoint refuses for a reason that stays, or a prefix is asked for, which OpenAI's
        API can't give.
        """
        if sampling.prefix:
            raise UserError(f"got a prefix for {self._model}, but an endpoint of OpenAI's API can't go on from one")
        answer = await self._ask(self._body(turns, sampling))
        if not isinstance(answer, ChatCompletion):  # the client hands on what is no JSON object as it is
            raise InfrastructureFailure(f"{self._model} gave {str(answer)[:80]!r}, expected a JSON object")
        choices = [choice for choice in answer.choices or [] if choice.message]
        if len(choices) != sampling.n:
            raise InfrastructureFailure(f"{self._model} gave {len(choices)} choices, expected {sampling.n}")
        return [_written(answer, number) for number in range(sampling.n)]

    async def _ask(self, body: dict[str, Any]) -> object:
        try:
            return await self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        except openai.APIStatusError as error:
            raise _refusal(error, self._model) from None
        except openai.APIConnectionError as error:
            raise InfrastructureFailure(f"{self._model} can't be reached: {error}") from None
        except ValueError as error:
            raise InfrastructureFailure(f"{self._model} gave no JSON: {error}") from None

    def _body(self, turns: Sequence[Turn], sampling: Sampling) -> dict[str, Any]:
        chat = to_openai(turns)
        body = {
            "model": self._model,
            "messages": [_answering_a_call(message) for message in chat.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed % SEEDS,
            "n": sampling.n,
            "max_completion_tokens": sampling.max_tokens,
        }
        if chat.functions:
            body["tools"] = [{"type": "function", "function": function} for function in chat.functions]
            body["parallel_tool_calls"] = False
        return body


def _answering_a_call(message: Message) -> Message:
    """`message`; one of a tool's that answers a turn without a call, as another policy may write, is the user's."""
    orphan = message["role"] == "tool" and "tool_call_id" not in message
    return message | {"role": "user"} if orphan else message


def _refusal(error: openai.APIStatusError, model: str) -> Exception:
    """What an answer of 4xx or 5xx means: the conversation is too long, the endpoint is ill, or it will never do."""
    code, words = TOO_LONG
    if error.code == code or words in error.message:
        return BoundReached("max_length")
    said = f"{model} answers {error.status_code}: {error.message}"
    if error.status_code >= 500 or error.status_code in (408, 409, 429):
        return InfrastructureFailure(said)
    return UserError(f"{said}; mend the policy's settings")


def _written(answer: ChatCompletion, number: int) -> WrittenTurn:
    """A choice as a turn. The tokens of an answer count for its first choice."""
    choice, usage = answer.choices[number], answer.usage if number == 0 else None
    return WrittenTurn(
        text=_whole(_text(choice.message, choice.finish_reason != "length")),
        finish_reason="length" if choice.finish_reason == "length" else "stop",
        revision=f"{answer.model}@{answer.system_fingerprint or ''}",
        reasoning=_whole(str((choice.message.model_extra or {}).get("reasoning_content") or "")),
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
    )


def _whole(text: str) -> str:
    """`text`, in which half a surrogate pair, which JSON may hold and UTF-8 can't, is a question mark."""
    return text.encode(errors="replace").decode()


def _text(message: ChatCompletionMessage, ended: bool) -> str:
    """The first call, since a turn is one call; or the text as an answer, which it isn't where it was cut."""
    content = str(message.content or "")
    for call in message.tool_calls or []:
        if call.type == "function":
            return render_step(Step(content, call.function.name, call.function.arguments or ""))
    return render_step(finish_with(content)) if ended else content
