"""lm-evaluation-harness asks a served student; its loglikelihoods are our own scores, its accuracy what they give."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from common import wire
from common.render import load_tokenizer
from teacher_server.settings import EngineSettings, TeacherServerSettings
from tests.interop.environments import python_of, run
from tests.interop.serving import vllm_service
from tests.service import TOKEN
from tests.serving import ROOT

pytestmark = pytest.mark.anyio
STUDENT = ROOT / "student_trainer/base_models/student"
ENGINE = EngineSettings(
    dtype="float32", max_length=512, max_batched_tokens=1024, max_top_k=8, kv_cache_gib=0.125, enforce_eager=True
)
QUESTIONS: list[dict[str, Any]] = [
    {"question": "Thought: I need the weather.\nAction:", "choices": ["get_weather", "get_time", "Finish"], "gold": 0},
    {"question": "Thought: Was weiß Zürich ☂?\nAction Input:", "choices": ['{"city": "Zürich"}', "{}"], "gold": 0},
    {"question": "User: thanks\nAssistant:", "choices": ["You are welcome", "☂", "Action Action Action"], "gold": 0},
    {"question": "The tool that tells the time is named", "choices": ["clock", "c"], "gold": 1},
]
SHARED = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "num_fewshot": 0,
}
CHOICE = SHARED | {
    "task": "choice",
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc"}],
}
WRITING = SHARED | {
    "task": "writing",
    "output_type": "generate_until",
    "doc_to_target": "{{choices[0]}}",
    "generation_kwargs": {"until": ["\n", "Action"], "max_gen_toks": 12},
    "metric_list": [{"metric": "exact_match"}],
}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    python_of("lm-eval")


@pytest.fixture(scope="module")
async def url(installed: None) -> AsyncIterator[str]:
    async with vllm_service(TeacherServerSettings(model=str(STUDENT), name="student", engine=ENGINE)) as url:
        yield url


async def evaluated(url: str, folder: Path, batch: int = 1, **arguments: object) -> tuple[Any, dict[str, list[Any]]]:
    """The harness' results, and its samples of each task."""
    (folder / "docs.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    documents = {"dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}}}
    for task in (CHOICE, WRITING):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task | documents))
    model = {"model": "student", "base_url": f"{url}/v1/completions", "tokenizer": STUDENT, "max_length": 512}
    words = ",".join(f"{name}={value}" for name, value in (model | arguments).items())
    command = ["-m", "lm_eval", "run", "--model", "local-completions", "--model_args", words]
    command += [
        "--tasks",
        "choice,writing",
        "--include_path",
        ".",
        "--output_path",
        "out",
        "--log_samples",
        "--batch_size",
        str(batch),
    ]
    await run("lm-eval", *command, folder=folder)
    (results,) = folder.glob("out/**/results*.json")
    files = {name: next(folder.glob(f"out/**/samples_{name}*.jsonl")) for name in ("choice", "writing")}
    samples = {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in files.items()}
    return json.loads(results.read_text())["results"], samples


async def distilled(url: str, prompt: Sequence[int], **task: Any) -> wire.TeacherAnswer:
    """What our own API says of a sequence."""
    sequence = {"id": "s", "prompt_token_ids": list(prompt), **task}
    body = {"model": "student", "top_k": 1, "logprob_dtype": "float32", "sequences": [sequence]}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        (answer,) = wire.decode((await http.post(f"{url}/v1/distill", json=body)).content)
    return answer


def arguments_of(sample: dict[str, Any]) -> list[list[Any]]:
    """The arguments of each of a sample's requests."""
    return [list(arguments.values()) for arguments in sample["arguments"].values()]


@pytest.mark.parametrize("tokenized", [True, False])
async def test_its_scores_are_ours(url: str, tmp_path: Path, tokenized: bool):
    results, samples = await evaluated(url, tmp_path, batch=3, tokenized_requests=tokenized)
    tokenizer, right, differences = load_tokenizer(STUDENT), [], []
    for sample in samples["choice"]:
        ours: list[float] = []
        for (context, continuation), ((told, greedy),) in zip(arguments_of(sample), sample["resps"], strict=True):
            whole, before = tokenizer.encode(context + continuation), tokenizer.encode(context)
            answer = await distilled(url, before, completion_token_ids=whole[len(before) :])
            ours.append(float(answer.token_logprobs.sum()))
            differences.append(abs(float(told) - ours[-1]))
            assert str(greedy) == str(bool((answer.token_ids == answer.topk_ids[:, 0]).all()))
        right.append(ours.index(max(ours)) == sample["doc"]["gold"])
    print(
        f"\nlm-eval: {len(differences)} loglikelihoods, at most {max(differences):.1e} from ours; {results['choice']}"
    )
    assert len(differences) == sum(len(question["choices"]) for question in QUESTIONS)
    assert max(differences) < 1e-3
    assert results["choice"]["acc,none"] == sum(right) / len(QUESTIONS)


async def test_what_it_has_written_is_what_we_write(url: str, tmp_path: Path):
    _, samples = await evaluated(url, tmp_path, num_concurrent=4)
    tokenizer = load_tokenizer(STUDENT)
    assert len(samples["writing"]) == len(QUESTIONS)
    for sample in samples["writing"]:
        ((context, _),), ((told,),) = arguments_of(sample), sample["resps"]
        options = {"max_tokens": 12, "temperature": 0, "stop": ["\n", "Action"]}
        written = await distilled(url, tokenizer.encode(context), generate=options)
        text = tokenizer.decode(written.token_ids, skip_special_tokens=True).removesuffix("\ufffd")
        assert told == text.partition("\n")[0].partition("Action")[0]
