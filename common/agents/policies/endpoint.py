"""Any endpoint of OpenAI's API as a policy, so that a black-box teacher's trajectories become training data too.

Turns are sent as messages with tools, and what comes back is written in ToolBench's form: a call is a step with the
text beside it as its Thought, text alone is the call Finish with that text as its answer.
"""

from collections.abc import Sequence
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionMessage

from common.agents.policies.chat_endpoint import ChatEndpoint, revision_of, whole_text
from common.agents.policy import Sampling
from common.agents.types import WrittenTurn
from common.sequences import Provenance
from common.toolbench.finish import finish_with
from common.toolbench.openai_messages import Message, to_openai
from common.toolbench.react import Step, render_step
from common.toolbench.rows import Turn


class EndpointPolicy:
    """Asks `endpoint` for turns."""

    def __init__(self, endpoint: ChatEndpoint, provenance: Provenance) -> None:
        self._endpoint, self._provenance = endpoint, provenance

    @property
    def provenance(self) -> Provenance:
        """Whether its turns are a teacher's or a student's."""
        return self._provenance

    async def write(self, turns: Sequence[Turn], sampling: Sampling) -> list[WrittenTurn]:
        """As `Policy.write`. Raises UserError as `ChatEndpoint.complete`."""
        chat = to_openai(turns)
        tools: dict[str, Any] = {}
        if chat.functions:
            tools["tools"] = [{"type": "function", "function": function} for function in chat.functions]
            tools["parallel_tool_calls"] = False
        messages = [_answering_a_call(message) for message in chat.messages]
        answer = await self._endpoint.complete(messages, sampling, **tools)
        return [_written(answer, number) for number in range(sampling.n)]


def _answering_a_call(message: Message) -> Message:
    """`message`; one of a tool's that answers a turn without a call, as another policy may write, is the user's."""
    orphan = message["role"] == "tool" and "tool_call_id" not in message
    return message | {"role": "user"} if orphan else message


def _written(answer: ChatCompletion, number: int) -> WrittenTurn:
    """A choice as a turn. The tokens of an answer count for its first choice."""
    choice, usage = answer.choices[number], answer.usage if number == 0 else None
    return WrittenTurn(
        text=whole_text(_text(choice.message, choice.finish_reason != "length")),
        finish_reason="length" if choice.finish_reason == "length" else "stop",
        revision=revision_of(answer),
        reasoning=whole_text(str((choice.message.model_extra or {}).get("reasoning_content") or "")),
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
    )


def _text(message: ChatCompletionMessage, ended: bool) -> str:
    """The first call, since a turn is one call; or the text as an answer, which it isn't where it was cut."""
    content = str(message.content or "")
    for call in message.tool_calls or []:
        if call.type == "function":
            return render_step(Step(content, call.function.name, call.function.arguments or ""))
    return render_step(finish_with(content)) if ended else content
