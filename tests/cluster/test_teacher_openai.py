"""OpenAI's own client against real vLLM behind uvicorn: text, streams, logprobs, stop strings, disconnects."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from openai import OpenAI, UnprocessableEntityError

from common import wire
from common.render import load_tokenizer
from teacher_server.engine.protocol import warm_up
from teacher_server.settings import EngineSettings, LimitSettings, TeacherServerSettings
from teacher_server.vllm.engine import VllmEngine
from tests.loopback import serving
from tests.models import CPU_ENVIRONMENT, save_tiny_llama
from tests.service import make_service

TOKEN = "a-token"
PROMPT = "Thought: I need the weather in Zürich ☂"
WRITE: dict[str, Any] = {"model": "teacher", "max_tokens": 60, "seed": 5}
TEMPLATE = (
    "{% for message in messages %}{{ message.role ~ ': ' ~ message.content ~ '<|eos|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


class Teacher:
    """An engine and its HTTP server, both in a thread's event loop."""

    def __init__(self, settings: TeacherServerSettings) -> None:
        self.engine = VllmEngine(settings)
        self._url: Future[str] = Future()
        self._loop = asyncio.new_event_loop()
        self._leave = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])
        self._thread.start()
        self.url = self._url.result(timeout=240)

    async def _serve(self) -> None:
        try:
            await self.engine.start()
            await warm_up(self.engine)
            async with serving(make_service(self.engine, LimitSettings(max_requests=1))) as url:
                self._url.set_result(url)
                await self._leave.wait()
        except BaseException as error:  # whatever it is, the test that waits must hear of it
            self._url.set_exception(error)
            raise
        finally:
            await self.engine.close()

    @property
    def unfinished(self) -> int:
        """Requests that vLLM works on."""
        return self.engine._started().get_num_unfinished_requests()

    def close(self) -> None:
        engines = [child for child in psutil.Process().children(recursive=True) if "EngineCor" in child.name()]
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(timeout=30)
        assert engines
        assert not self._thread.is_alive()
        _, left = psutil.wait_procs(engines, timeout=10)
        assert not left, "the engine outlived its close"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teacher]:
    folder = save_tiny_llama(tmp_path_factory.mktemp("model"), max_position_embeddings=4096)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    engine = EngineSettings(
        dtype="float32", max_length=4000, max_batched_tokens=4001, max_top_k=32, kv_cache_gib=0.125, enforce_eager=True
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CPU_ENVIRONMENT.items():
            patch.setenv(name, value)
        served = Teacher(TeacherServerSettings(model=str(folder), engine=engine, tool_layout="toolbench"))
        yield served
        served.close()


@pytest.fixture(scope="module")
def client(teacher: Teacher) -> Iterator[OpenAI]:
    with OpenAI(base_url=teacher.url + "/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def distill(teacher: Teacher, prompt: list[int], **options: Any) -> list[wire.TeacherAnswer]:
    """The answers of /v1/distill, by id."""
    sequence = {"id": "s", "prompt_token_ids": prompt, "generate": {"max_tokens": 60, "seed": 5} | options}
    body = {"model": "teacher", "top_k": 5, "logprob_dtype": "float32", "sequences": [sequence]}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(teacher.url + "/v1/distill", json=body, headers=headers, timeout=60)
    return sorted(wire.decode(answer.content), key=lambda answer: answer.id)


def test_streams_and_logprobs_agree_with_the_whole_and_with_distill(teacher: Teacher, client: OpenAI):
    fields = WRITE | {"prompt": PROMPT, "logprobs": 5, "n": 3, "temperature": 1.3}
    whole = client.completions.create(**fields)
    chunks = list(client.completions.create(stream=True, **fields))
    tokenizer = teacher.engine.tokenizer()
    written = distill(teacher, tokenizer.encode(PROMPT), n=3, temperature=1.3)
    assert len({choice.text for choice in whole.choices}) == 3
    for choice, expected in zip(whole.choices, written, strict=True):
        pieces = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
        assert "".join(piece.text for piece in pieces) == choice.text
        assert 1 < len(pieces) <= len(expected)
        text = tokenizer.decode(expected.token_ids, skip_special_tokens=True)
        assert choice.text == text or choice.text == text.removesuffix("\ufffd"), "an unfinished character is left out"
        assert choice.finish_reason == expected.finish_reason
        assert (choice.finish_reason == "stop") == (expected.token_ids[-1] == tokenizer.eos_token_id)
        assert choice.logprobs is not None
        assert np.abs(np.array(choice.logprobs.token_logprobs) - expected.token_logprobs).max() < 1e-4
        streamed = [value for piece in pieces for value in piece.logprobs.token_logprobs]
        assert np.abs(np.array(streamed) - expected.token_logprobs).max() < 1e-4
        top = [sorted(row.values(), reverse=True)[:5] for row in choice.logprobs.top_logprobs or []]
        assert np.abs(np.array([row[0] for row in top]) - expected.topk_logprobs[:, 0]).max() < 1e-4
    assert whole.usage is not None
    assert whole.usage.completion_tokens == sum(map(len, written))


def test_characters_are_never_torn(teacher: Teacher, client: OpenAI):
    """A random model writes bytes that are seldom characters: each piece must be text that no later piece changes."""
    fields = WRITE | {"prompt": PROMPT, "temperature": 2, "max_tokens": 300}
    pieces = [chunk.choices[0].text for chunk in client.completions.create(stream=True, logprobs=0, **fields)]
    assert "" in pieces, "some tokens end within a character"
    assert client.completions.create(**fields).choices[0].text == "".join(pieces)
    fields["stop"] = "".join(pieces)[40:43]
    stopped = client.completions.create(**fields).choices[0]
    assert stopped.text == "".join(pieces)[: "".join(pieces).index(fields["stop"])]
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(stream=True, **fields)) == stopped.text


def test_a_stop_string_ends_with_the_token_that_completes_it(teacher: Teacher, client: OpenAI):
    tokenizer = teacher.engine.tokenizer()
    prompt = tokenizer.encode(PROMPT)
    (free,) = distill(teacher, prompt)
    text = tokenizer.decode(free.token_ids)
    stop = text[20:23]
    (stopped,) = distill(teacher, prompt, stop=["never", stop])
    ids = stopped.token_ids.tolist()
    assert stopped.error is None
    assert stopped.finish_reason == "stop"
    assert ids == free.token_ids[: len(ids)].tolist()
    assert stop in tokenizer.decode(ids)
    assert stop not in tokenizer.decode(ids[:-1])
    assert stopped.topk_ids.shape == (len(ids), 5)
    assert np.abs(stopped.token_logprobs - free.token_logprobs[: len(ids)]).max() < 1e-4
    choice = client.completions.create(prompt=PROMPT, stop=stop, logprobs=1, **WRITE).choices[0]
    assert choice.text == text[: text.index(stop)]
    assert choice.logprobs is not None
    assert len(choice.logprobs.tokens or []) == len(ids)


def test_a_chat_is_rendered_by_the_models_own_template(teacher: Teacher, client: OpenAI):
    messages: Any = [{"role": "user", "content": "weather <|eos|>"}]
    chat = client.chat.completions.create(messages=messages, **WRITE)
    assert chat.usage is not None
    tokenizer = load_tokenizer(teacher.engine._settings.model)
    around = [tokenizer.encode(words) for words in ("user: ", "<|eos|>assistant: ")]
    said = chat.usage.prompt_tokens - sum(map(len, around))
    assert said > len(tokenizer.encode("weather <|eos|>")), "what a user says makes no special token"
    chunks = client.chat.completions.create(messages=messages, stream=True, **WRITE)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == chat.choices[0].message.content
    with pytest.raises(UnprocessableEntityError, match="at most 4000"):
        client.completions.create(prompt="a" * 4001, **WRITE)


def test_an_echo_is_scored_as_distill_scores(teacher: Teacher, client: OpenAI):
    ids = teacher.engine.tokenizer().encode(PROMPT)
    body = {"model": "teacher", "top_k": 1, "logprob_dtype": "float32"}
    body["sequences"] = [{"id": "s", "prompt_token_ids": ids[:1], "completion_token_ids": ids[1:]}]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    (scored,) = wire.decode(httpx.post(teacher.url + "/v1/distill", json=body, headers=headers, timeout=60).content)
    for prompt in (PROMPT, [ids]):
        echo = client.completions.create(
            model="teacher", prompt=prompt, max_tokens=1, echo=True, logprobs=1, temperature=0, seed=1234
        ).choices[0]
        assert echo.logprobs is not None
        assert echo.text.startswith(PROMPT)
        first, *values, _ = echo.logprobs.token_logprobs or []
        assert first is None
        assert np.abs(np.array(values) - scored.token_logprobs).max() < 1e-4
        best = [max(row.values()) for row in (echo.logprobs.top_logprobs or [])[1:-1]]
        greedy = [value == top for value, top in zip(values, best, strict=True)]
        assert greedy == (scored.token_ids == scored.topk_ids[:, 0]).tolist()


def test_vllms_options(teacher: Teacher, client: OpenAI):
    fields: dict[str, Any] = {"model": "teacher", "prompt": PROMPT, "max_tokens": 300, "temperature": 2, "n": 8}

    def lengths(**options: Any) -> list[int]:
        logprobs = [c.logprobs for c in client.completions.create(logprobs=0, extra_body=options, **fields).choices]
        return [len(each.tokens or []) for each in logprobs if each is not None]

    assert set(lengths(ignore_eos=True, seed=1)) == {300}
    free, longer = lengths(seed=1), lengths(min_tokens=max(20, min(lengths(seed=1)) + 1), seed=1)
    assert min(longer) > min(free)
    greedy = client.completions.create(**fields | {"temperature": 0, "n": 1}).choices[0].text
    texts = {c.text for c in client.completions.create(extra_body={"top_k": 1}, **fields).choices}
    assert texts == {greedy}
    cut = client.completions.create(**fields | {"n": 1, "max_tokens": 1}, extra_body={"truncate_prompt_tokens": 5})
    assert cut.usage is not None
    assert cut.usage.prompt_tokens == 5


def test_a_turn_with_tools_is_read_from_its_own_ids(teacher: Teacher, client: OpenAI):
    """What a random model writes is no call: it comes as text, streamed or not, special tokens shown."""
    tools: Any = [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}]
    fields: dict[str, Any] = WRITE | {"messages": [{"role": "user", "content": "Rain?"}], "tools": tools}
    whole = client.chat.completions.create(**fields)
    assert whole.usage is not None
    message = whole.choices[0].message.model_dump(exclude_unset=True)
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(stream=True, **fields)]
    assert "".join(delta.content or "" for delta in deltas) == message["content"]
    assert "not a turn in the layout 'toolbench'" in message["invalid_tool_call"]
    assert {(delta.model_extra or {}).get("invalid_tool_call") for delta in deltas} == {
        None,
        message["invalid_tool_call"],
    }
    begun = {"type": "function", "function": {"name": "rain"}}
    named = client.chat.completions.create(tool_choice=begun, **fields)
    assert named.usage is not None
    assert named.usage.prompt_tokens > whole.usage.prompt_tokens
    assert (named.choices[0].message.content or "").startswith("\nThought: \nAction: rain\nAction Input:")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_aborts_its_requests_in_vllm(teacher: Teacher, client: OpenAI, stream: bool):
    """They are a quarter of a minute's work, and no other request is taken before they are gone."""
    fields = WRITE | {"prompt": PROMPT, "n": 64, "max_tokens": 3900, "temperature": 2}
    if stream:
        leaving = client.completions.create(stream=True, **fields)
        next(iter(leaving))
        assert teacher.unfinished > 32
        leaving.close()
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                teacher.url + "/v1/completions", json=fields, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=1
            )
    begin = time.monotonic()
    while teacher.unfinished:
        assert time.monotonic() < begin + 5
        time.sleep(0.01)  # vLLM tells nobody when it has dropped a request
    assert client.completions.create(prompt=PROMPT, **WRITE).choices
