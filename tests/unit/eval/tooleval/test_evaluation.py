"""ToolEval by its command: on StableToolBench's example, killed and resumed, with answers and judges that are bad."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import yaml

from common.errors import UserError
from common.settings import validate
from eval.commands import tooleval
from eval.tooleval.evaluation import CONVERTED, REPORT, SET_ASIDE, evaluate
from eval.tooleval.judgements import FILE
from eval.tooleval.settings import ToolEvalSettings
from tests.unit.eval.tooleval.judges import JudgeServer, kind_of, label, served_judge
from tests.unit.eval.tooleval.made import cut_off, finished

ROOT = Path(__file__).parents[4]
QUERIES = 6


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLAGENT_KD_TOKEN", "secret")


@pytest.fixture
def answers(tmp_path: Path) -> dict[str, Path]:
    """Two agents' converted answers to the same queries, which say whose they are."""
    for agent in ("ft", "kd"):
        records = {str(query): finished(f"{agent} says {query}.").record() for query in range(QUERIES)}
        (tmp_path / agent).mkdir()
        (tmp_path / agent / "G1.json").write_text(json.dumps(records | {"cut": cut_off(f"{agent} says so").record()}))
    return {agent: tmp_path / agent for agent in ("ft", "kd")}


def values(server: JudgeServer, answers: dict[str, Path], output: Path, **changes: object) -> dict[str, object]:
    judge = {"url": server.url, "model": "big", "retries": 0}
    made = {agent: str(path) for agent, path in answers.items()}
    return {"answers": made, "reference": next(iter(made)), "judge": judge, "output": str(output)} | changes


def settings(*arguments: object, **changes: object) -> ToolEvalSettings:
    return validate(ToolEvalSettings, values(*arguments, **changes), "test")


def by_content(prompt: str) -> str:
    """A judge that draws its labels by what it is shown alone, the same for the same."""
    draw = Random(prompt)
    statuses, tasks = ("Solved", "Unsolved", "Unsure"), ("Solvable", "Unsolvable", "Unsure")
    return label(
        prompt,
        answer_status=draw.choice(statuses),
        path_status=draw.choice(statuses),
        task_status=draw.choice(tasks),
        better_answer=draw.choice("AB"),
    )


def test_stable_toolbench_example_by_hand(shared_data: Path, tmp_path: Path):
    """Both searches' three answers; the judge solves all but one, which never finished, and prefers DFS."""
    folder = shared_data / "StableToolBench" / "data_example" / "answer"
    agents = {"cot": folder / "virtual_chatgpt_cot", "dfs": folder / "virtual_chatgpt_dfs"}
    ids = shared_data / "StableToolBench" / "solvable_queries_example" / "test_query_ids"

    def prefers_dfs(prompt: str) -> str:
        dfs_first = any(mark in prompt.split("<path_b>")[0] for mark in ("DFS", "pinterest.com", "3200 viewers"))
        return label(prompt, better_answer="A" if dfs_first else "B")

    with served_judge(prefers_dfs) as server:
        final = {"url": server.url, "model": "fac", "temperature": 0}
        report = evaluate(settings(server, agents, tmp_path, query_ids=str(ids), final_answer_judge=final))
    cot, dfs = report.figures()
    assert (cot.agent, cot.group, cot.answers, cot.judged) == ("cot", "G1_instruction", 3, 3)
    assert (cot.pass_rate.rate, cot.sopr.mean, cot.fac) == (2 / 3, 2 / 3, 2 / 3)
    assert (dfs.pass_rate.rate, dfs.sopr.mean, dfs.fac) == (1.0, 1.0, 1.0)
    assert (cot.win_rate, cot.sowr) == (None, None)
    assert (dfs.win_rate.wins, dfs.sowr.wins, dfs.win_rate.by_label) == (dfs.sowr.wins, dfs.win_rate.wins, 1)
    made = json.loads((tmp_path / CONVERTED / "cot" / "G1_instruction.json").read_text())
    [gold] = (folder.parent / "model_predictions_converted").rglob("*.json")
    assert made == json.loads(gold.read_text())
    written = json.loads((tmp_path / REPORT).read_text())
    assert [judge["revisions"].keys() for judge in written["judges"]] == [{"judge-1@f1"}] * 2
    assert written["prompts"]["answer_status"]["heading"] == "Answer Status"
    assert written["figures"][0]["sopr"]["labels"] == {"Solved": 8, "Unsure": 0, "Unsolved": 4}


def test_an_agent_that_is_better_is_found_better_whatever_its_place(answers: dict[str, Path], tmp_path: Path):
    """The judge sees which is better alone: kd wins every vote, whichever agent is the reference."""

    def prefers_kd(prompt: str) -> str:
        return label(prompt, better_answer="A" if "kd says" in prompt.split("<path_b>")[0] else "B")

    with served_judge(prefers_kd) as server:
        figures = evaluate(settings(server, answers, tmp_path / "a")).figures()[1]
        swapped = dict(reversed(answers.items()))
        back = evaluate(settings(server, swapped, tmp_path / "b")).figures()[1]
    assert (figures.agent, figures.win_rate.wins, figures.win_rate.losses) == ("kd", QUERIES + 1, 0)
    assert (back.agent, back.win_rate.wins, back.win_rate.losses) == ("ft", 0, QUERIES + 1)
    assert (figures.sowr.wins, back.sowr.losses) == (QUERIES + 1, QUERIES + 1)


def test_one_task_is_judged_once_for_all_agents(answers: dict[str, Path], tmp_path: Path):
    with served_judge(lambda prompt: label(prompt, answer_status="Unsolved")) as server:
        evaluate(settings(server, answers, tmp_path / "out", reference=None))
    asked = [kind_of(prompt) for prompt in server.prompts]
    assert asked.count("task_status") == 4 * QUERIES
    assert asked.count("answer_status") == 2 * 4 * QUERIES


def test_killed_at_any_moment_it_goes_on_and_ends_alike(answers: dict[str, Path], tmp_path: Path):
    with served_judge(by_content) as server:
        expected = evaluate(settings(server, answers, tmp_path / "undisturbed")).values()
        undisturbed = len(server.bodies)

    def slow(prompt: str) -> str:
        time.sleep(0.02)
        return by_content(prompt)

    with served_judge(slow) as server:
        config, output = tmp_path / "tooleval.yaml", tmp_path / "out"
        config.write_text(yaml.safe_dump(values(server, answers, output, in_flight=2)))
        command = [sys.executable, "-m", "eval", "tooleval", str(config)]
        with subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and lines(output / FILE) < 20:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        assert lines(output / FILE) >= 20
        assert not (output / REPORT).exists()
        report = evaluate(settings(server, answers, output, in_flight=2)).values()
        assert undisturbed <= len(server.bodies) <= undisturbed + 2  # what was in flight
    assert report == expected
    assert json.loads((output / REPORT).read_text()) == json.loads(json.dumps(expected))


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_what_has_no_label_counts_nowhere_and_is_judged_the_next_time(
    answers: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    broken = [True]

    def sometimes(prompt: str) -> str:
        return "no idea" if broken[0] and "kd says 3" in prompt and "<path_a>" not in prompt else by_content(prompt)

    with served_judge(sometimes) as server:
        config = tmp_path / "tooleval.yaml"
        config.write_text(yaml.safe_dump(values(server, answers, tmp_path / "out")))
        assert tooleval([str(config)]) == 1
        said = capsys.readouterr().out
        assert f"{QUERIES} of {QUERIES + 1}" in said
        assert "1 set aside" in said
        [line] = (tmp_path / "out" / SET_ASIDE).read_text().splitlines()
        assert json.loads(line)["place"] == "kd/G1/3"
        figures = json.loads((tmp_path / "out" / REPORT).read_text())["figures"]
        assert [each["judged"] for each in figures] == [QUERIES + 1, QUERIES]
        assert sum(figures[1]["win_rate"][each] for each in ("wins", "ties", "losses")) == QUERIES
        broken[0] = False
        assert tooleval([str(config)]) == 0
        assert not (tmp_path / "out" / SET_ASIDE).exists()


@pytest.mark.parametrize("reply", ["nonsense", 500])
def test_a_judge_that_is_broken_is_said(answers: dict[str, Path], tmp_path: Path, reply: str | int):
    with (
        served_judge(lambda prompt: reply) as server,
        pytest.raises(UserError, match="the judge failed on 10 items in a row"),
    ):
        evaluate(settings(server, answers, tmp_path / "out"))


def test_a_judge_that_changes_while_it_judges_is_said(
    answers: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with served_judge(by_content) as server:
        config = tmp_path / "tooleval.yaml"
        config.write_text(yaml.safe_dump(values(server, answers, tmp_path / "out")))
        tooleval([str(config)])
        assert "changed" not in capsys.readouterr().out
        server.fingerprint = "f2"
        config.write_text(yaml.safe_dump(values(server, answers, tmp_path / "out", rounds=5)))
        tooleval([str(config)])
    said = capsys.readouterr().out
    assert "judge-1@f1, judge-1@f2" in said
    assert "big changed while it judged: its figures are of 2 judges" in said


def test_answers_that_can_not_be_compared_are_refused_before_anything_is_asked(
    answers: dict[str, Path], tmp_path: Path
):
    file = answers["kd"] / "G1.json"
    records = json.loads(file.read_text())
    with served_judge(by_content) as server:
        file.write_text(json.dumps({query: record for query, record in records.items() if query != "4"}))
        with pytest.raises(UserError, match="ft in G1 answers the query 4, kd in G1 doesn't"):
            evaluate(settings(server, answers, tmp_path / "out"))
        file.write_text(json.dumps(records)[:-20])
        with pytest.raises(UserError, match=r"G1\.json is torn"):
            evaluate(settings(server, answers, tmp_path / "out"))
    assert server.bodies == []


@pytest.mark.parametrize("reference", ["nobody", "kd"])
def test_a_reference_must_be_one_of_several_agents(answers: dict[str, Path], reference: str):
    alone = {"kd": answers["kd"]}
    with pytest.raises(UserError, match=f"got the reference '{reference}', expected one of kd, and another beside it"):
        settings(JudgeServer(by_content, url="http://127.0.0.1:1"), alone, Path("out"), reference=reference)


def test_fac_needs_no_other_judge_and_somebody_must_judge(answers: dict[str, Path], tmp_path: Path):
    with served_judge(lambda prompt: "Answer Status\nSolved\nReason\nAll parts.") as server:
        fac = {"url": server.url, "model": "fac"}
        alone = {"judge": None, "reference": None}
        report = evaluate(settings(server, answers, tmp_path / "out", final_answer_judge=fac, **alone))
        with pytest.raises(UserError, match="got no judge, expected `judge`, `final_answer_judge`, or both"):
            settings(server, answers, tmp_path / "out", **alone)
    assert {kind_of(prompt) for prompt in server.prompts} == {"final_answer"}
    for figures in report.figures():
        assert figures.fac == QUERIES / (QUERIES + 1)
        assert (figures.judged, figures.pass_rate, figures.sopr) == (QUERIES + 1, None, None)


def test_a_missing_api_key_of_either_judge_is_said_before_anything_is_asked(answers: dict[str, Path], tmp_path: Path):
    with served_judge(by_content) as server:
        fac = {"url": server.url, "model": "fac", "token_file": str(tmp_path / "none")}
        with pytest.raises(UserError, match="can't read the token file"):
            evaluate(settings(server, answers, tmp_path / "out", final_answer_judge=fac))
    assert server.bodies == []


def test_fewer_than_four_rounds_are_refused(answers: dict[str, Path]):
    with pytest.raises(UserError, match="rounds: got 3"):
        settings(JudgeServer(by_content, url="http://127.0.0.1:1"), answers, Path("out"), rounds=3)
