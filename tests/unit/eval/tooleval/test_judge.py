"""A judge over HTTP: what it is sent, what is asked again, and what is set aside or ends the evaluation."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.agents.policies.chat_endpoint import ChatEndpoint
from common.errors import UserError
from eval.endpoint import open_endpoint
from eval.tooleval.judge import IN_A_ROW, Judge, Unjudged
from eval.tooleval.judgements import FILE, JudgementStore
from eval.tooleval.prompts import load_prompts
from eval.tooleval.settings import JudgeSettings
from tests.unit.eval.tooleval.judges import JudgeServer, Reply, served_judge
from tests.unit.teacher_server.openai.chat.scripted import ScriptedEngine, client_of

ASKED = {"query": "How many?", "answer": "3"}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLAGENT_KD_TOKEN", "secret")


def ask(server: JudgeServer, folder: Path, places: list[str], seed: int = 3, **changes: Any) -> tuple[list[Any], Any]:
    """The label of each place, or how it failed, and the judge's report."""
    settings = JudgeSettings(url=server.url, model="big", **{"retries": 0, "attempts": 3} | changes)

    async def asked() -> tuple[list[Any], Any]:
        async with open_endpoint(settings) as endpoint:
            judge = Judge(endpoint, settings, load_prompts(None), JudgementStore(folder), asyncio.Semaphore(1), seed)
            labels = [judge.label("answer_status", place, **ASKED) for place in places]
            try:
                return await asyncio.gather(*labels, return_exceptions=True), judge.report()
            finally:
                await judge.close()

    return asyncio.run(asked())


def replies(*said: Reply) -> Callable[[str], Reply]:
    """A judge that says one after the other, the last for ever."""
    left = list(said)
    return lambda prompt: left.pop(0) if len(left) > 1 else left[0]


def test_the_request_and_the_report(tmp_path: Path):
    with served_judge(replies("Because.\nAnswer Status: Unsure"), model="big-2", fingerprint="f9") as server:
        labels, report = ask(server, tmp_path, ["kd/G1/1/0"], temperature=0.3, max_tokens=64)
    assert labels == ["Unsure"]
    [body] = server.bodies
    assert {key: body[key] for key in ("model", "temperature", "max_completion_tokens", "n")} == {
        "model": "big",
        "temperature": 0.3,
        "max_completion_tokens": 64,
        "n": 1,
    }
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "How many?" in server.prompts[0]
    assert (report.model, report.revisions, report.judgements, report.unparsable) == ("big", {"big-2@f9": 1}, 1, 0)
    assert (report.prompt_tokens, report.completion_tokens) == (7, 3)


def test_a_reply_without_a_label_is_asked_for_again_with_another_seed(tmp_path: Path):
    thought = "<think>\nAnswer Status: Unsolved\n</think>\n\nAnswer Status: Solved"
    with served_judge(replies("dunno", "Unsure", thought)) as server:
        labels, report = ask(server, tmp_path, ["a"])
    assert (labels, report.unparsable, report.prompt_tokens) == (["Solved"], 2, 21)
    assert len({body["seed"] for body in server.bodies}) == 3


@pytest.mark.parametrize(
    ("reply", "changes", "said"),
    [
        (
            "I think it is Unsure",
            {},
            "a reply that ends 'I think it is Unsure', expected a line 'Answer Status: Solved or",
        ),
        ("Answer Status: Solved", {"finish_reason": "length"}, "got a reply that was cut"),
        (500, {}, "answer_status a: big answers 500"),
    ],
)
def test_what_stays_without_a_label_is_set_aside_and_never_unsure(
    tmp_path: Path, reply: Reply, changes: dict[str, str], said: str
):
    with served_judge(replies(reply), **changes) as server:
        [failure], report = ask(server, tmp_path, ["a"])
    assert isinstance(failure, Unjudged)
    assert said in str(failure)
    assert not (tmp_path / FILE).exists()
    asked = 1 if reply == 500 else 3
    assert (len(server.bodies), report.judgements, report.unparsable) == (asked, 0, 0 if reply == 500 else 3)


@pytest.mark.parametrize("reply", ["nonsense", 500])
def test_a_judge_that_does_nothing_else_ends_the_evaluation(tmp_path: Path, reply: Reply):
    with served_judge(replies(reply)) as server:
        labels, _ = ask(server, tmp_path, [str(number) for number in range(IN_A_ROW)], attempts=1)
    assert [type(each) for each in labels] == [Unjudged] * (IN_A_ROW - 1) + [UserError]
    assert f"the judge failed on {IN_A_ROW} items in a row, the last being answer_status 9" in str(labels[-1])


def test_failures_between_which_something_is_judged_do_not_end_it(tmp_path: Path):
    said = [500] * (IN_A_ROW - 1) + ["Answer Status: Solved"] + [500] * (IN_A_ROW - 1)
    with served_judge(replies(*said)) as server:
        labels, _ = ask(server, tmp_path, [str(number) for number in range(len(said))])
    assert [type(each) for each in labels].count(Unjudged) == len(said) - 1
    assert labels[IN_A_ROW - 1] == "Solved"


@pytest.mark.parametrize("reply", ["dunno", {"message": "too long", "code": "context_length_exceeded"}])
def test_items_that_have_no_label_do_not_end_a_judge_that_gives_some(tmp_path: Path, reply: Reply):
    """Also when all others were judged the time before: what is left is then all that is asked."""
    places = [str(number) for number in range(2 * IN_A_ROW)]
    with served_judge(replies("Answer Status: Solved", reply)) as server:
        for _ in range(2):
            labels, _ = ask(server, tmp_path, places, attempts=1)
            assert [type(each) for each in labels] == [str] + [Unjudged] * (len(places) - 1)


def test_a_refusal_that_stays_ends_it_at_once(tmp_path: Path):
    with served_judge(replies(401)) as server:
        [failure], _ = ask(server, tmp_path, ["a"])
    assert isinstance(failure, UserError)
    assert "big answers 401" in str(failure)


def test_what_was_judged_is_not_asked_again_and_what_changed_is(tmp_path: Path):
    with served_judge(replies("Answer Status: Solved")) as server:
        first, report = ask(server, tmp_path, ["a", "b", "a"])
        assert (first, len(server.bodies), report.judgements) == (["Solved"] * 3, 2, 2)
        again, report = ask(server, tmp_path, ["a", "b"])
        assert (again, len(server.bodies), report.revisions) == (["Solved"] * 2, 2, {"judge-1@f1": 2})
        ask(server, tmp_path, ["a"], temperature=0.9)
        ask(server, tmp_path, ["a"], seed=4)
        ask(server, tmp_path, ["c"])
        assert len(server.bodies) == 5


@pytest.mark.parametrize("layout", [None, "toolbench", "chat", "tools"])
def test_a_model_that_this_project_serves_judges_too(tmp_path: Path, layout: Any):
    """Through the real service, in whatever form the model writes its calls: it is asked without functions."""
    engine = ScriptedEngine("Because.\nAnswer Status: Unsolved", layout=layout)
    settings = JudgeSettings(url="http://teacher/v1", model="teacher")

    async def asked() -> tuple[str, Any]:
        async with client_of(engine) as client:
            endpoint, store = ChatEndpoint(client, settings.model), JudgementStore(tmp_path)
            judge = Judge(endpoint, settings, load_prompts(None), store, asyncio.Semaphore(1), 0)
            return await judge.label("answer_status", "a", **ASKED), judge.report()

    label, report = asyncio.run(asked())
    assert (label, report.revisions) == ("Unsolved", {"teacher@r0": 1})
    [prompt] = engine.texts
    assert load_prompts(None).answer_status.filled(**ASKED).strip() in prompt


def test_a_torn_line_is_cut_off_and_a_damaged_one_is_named(tmp_path: Path):
    with served_judge(replies("Answer Status: Solved")) as server:
        ask(server, tmp_path, ["a"])
        with (tmp_path / FILE).open("a") as file:
            file.write('{"key": "half')
        assert ask(server, tmp_path, ["a", "b"])[0] == ["Solved"] * 2
        assert len(server.bodies) == 2
        with (tmp_path / FILE).open("a") as file:
            file.write('{"key": 1}\n')
        with pytest.raises(UserError, match=r"line 3 of .*judgements\.jsonl is no judgement .*delete that line"):
            ask(server, tmp_path, ["a"])
