"""eval/own-traces.md as a user follows it: its commands, in its order, on 200 traces in OpenAI's form."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import local_cluster
from cluster.local.ray_cli import deploy, submit_job
from cluster.local.settings import ClusterSettings
from tests.foreign_traces import write_traces
from tests.service import TOKEN
from tests.serving import ROOT

TRACES, HELD_OUT, STEPS = 200, 4, 4
FEW = ["--max_steps", str(STEPS), "--data.validation_rows", "4"]


def commands() -> list[list[str]]:
    """Those of the page, word by word."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "eval/own-traces.md").read_text("utf-8"), re.DOTALL)
    return [shlex.split(line) for line in "".join(blocks).splitlines()]


@pytest.fixture(scope="module")
def cluster(behind_a_dead_proxy: None) -> Iterator[ClusterInfo]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLAGENT_KD_TOKEN", TOKEN)
        with local_cluster(ClusterSettings()) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def mine(cluster: ClusterInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page calls runs/mine, once all its commands have run; a few steps are enough here."""
    folder = tmp_path_factory.mktemp("own") / "mine"
    folder.mkdir()
    write_traces(folder, TRACES, HELD_OUT)
    for words in commands():
        run(cluster, [here(word, folder, cluster) for word in words])
    return folder


def here(word: str, folder: Path, cluster: ClusterInfo) -> str:
    """A word of a command, with this test's folder and address, in the settings files too."""
    if not word.endswith(".yaml"):
        return word.replace("runs/mine", str(folder))
    text = (ROOT / word).read_text("utf-8").replace("runs/mine", str(folder))
    own = folder / word.replace("/", "-")
    own.write_text(text.replace("http://127.0.0.1:8000", cluster.serve_url))
    return str(own)


def run(cluster: ClusterInfo, words: list[str]) -> None:
    if words[:3] == ["ray", "job", "submit"]:
        lines: list[str] = []
        assert submit_job(cluster, [*words[words.index("--") + 1 :], *FEW], lines.append) == 0, lines
    elif words[:2] == ["serve", "deploy"]:
        deploy(cluster, Path(words[2]))
    else:
        assert words[:2] == ["python", "-m"]
        done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_the_student_is_judged_on_tools_that_no_trace_has(mine: Path):
    judgements = json.loads((mine / "scores.json").read_bytes())["judgements"]
    scores = {judgement["model"]: judgement for judgement in judgements}
    assert scores.keys() == {"base", "student"}
    assert scores["base"]["rows"] == scores["student"]["rows"] >= 2 * HELD_OUT
    assert scores["student"]["measures"]["loss"]["value"] < scores["base"]["measures"]["loss"]["value"]


def test_every_trace_became_rows_and_was_trained_on(mine: Path):
    traces = (mine / "traces.jsonl").read_text().splitlines()
    summary = json.loads((mine / "student/summary.json").read_bytes())
    assert len(traces) == TRACES
    assert (summary["steps"], summary["quarantined"]) == (STEPS, 0)
    assert (mine / "data/train/skipped.jsonl").exists() is False


def test_the_adapter_has_its_card_and_the_report_shows_both_models(mine: Path):
    card = (mine / "adapter/README.md").read_text("utf-8")
    assert "license: apache-2.0" in card
    assert "converted from `traces.jsonl`" in card
    report = (mine / "report/report.md").read_text("utf-8")
    assert "**Split held\\_out**" in report
    assert re.search(r"\| student \| the cell student \| 1 of 1 \| 0 \| \d\.\d{3} ", report)
    assert (mine / "report/figures/loss.png").exists()
