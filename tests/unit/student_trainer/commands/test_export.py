"""A finished student as an adapter or a whole model: the same answers, and served as the command says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from common.errors import UserError
from common.fingerprints import tokenizer_fingerprint
from common.render import load_tokenizer
from student_trainer.__main__ import main
from student_trainer.learning.student import Student, load_student
from student_trainer.persistence import run_folder
from student_trainer.persistence.final_student import write_student
from student_trainer.persistence.run_folder import append_metrics
from student_trainer.persistence.summary import write_summary
from student_trainer.pipeline.teacher_revision import remember
from tests.unit.student_trainer.students import save_student, short_run, student_settings

IDS = torch.arange(3, 60)[None]


def finished_run(tmp_path: Path, **changes: Any) -> tuple[Path, Student]:
    """A run whose student learnt something big."""
    student = student_settings(tmp_path / "student", **changes)
    settings = short_run(tmp_path, student=student.model_dump())
    run_folder.prepare(settings)
    trained = load_student(
        student, torch.device("cpu"), seed=0
    )  # training: for inference bitsandbytes repacks on a CPU
    for parameter in trained.trainable():
        torch.nn.init.normal_(parameter, std=0.1)
    trained.save(tmp_path / "checkpoint", trained.weights())
    write_student(settings, tmp_path / "checkpoint")
    write_summary(settings.run_folder)
    return settings.run_folder, trained


@torch.no_grad()
def logprobs(model: torch.nn.Module) -> Tensor:
    logits: Tensor = model(input_ids=IDS).logits
    return logits.float().log_softmax(-1)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_adapter_and_merged_model_answer_like_the_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quantization: str, use_dora: bool
):
    run, student = finished_run(tmp_path, quantization=quantization, lora={"rank": 4, "use_dora": use_dora})
    expected = logprobs(student.model)
    main(["export", str(run), str(tmp_path / "merged"), "--merge"])
    said = capsys.readouterr().out
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logprobs(merged), expected, rtol=0, atol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    assert (logprobs(base) - expected).abs().max() > 0.01
    before, after = (tokenizer_fingerprint(load_tokenizer(tmp_path / name)) for name in ("student", "merged"))
    assert before == after
    assert served(said) == {"model": str(tmp_path / "merged")}
    assert ("nf4" in said) == (quantization == "nf4")
    if use_dora:
        with pytest.raises(UserError, match="DoRA adapter is not served by vLLM; export it with --merge"):
            main(["export", str(run), str(tmp_path / "adapter")])
    elif quantization == "none":
        main(["export", str(run), str(tmp_path / "adapter")])
        adapters = {run.name: str(tmp_path / "adapter")}
        assert served(capsys.readouterr().out) == {"model": str(tmp_path / "student"), "adapters": adapters}
        torch.testing.assert_close(
            logprobs(PeftModel.from_pretrained(base, tmp_path / "adapter")), expected, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_student_of_which_every_weight_learnt_is_a_whole_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str
):
    save_student(tmp_path / "student", tied=True)
    run, student = finished_run(tmp_path, lora=None, dtype=dtype)
    main(["export", str(run), str(tmp_path / "out")])
    assert served(capsys.readouterr().out) == {"model": str(tmp_path / "out")}
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert str(exported.dtype) == f"torch.{dtype}"
    expected = {name: each.to(exported.dtype) for name, each in student.weights().items()}
    torch.testing.assert_close(dict(exported.named_parameters()), expected, rtol=0, atol=0)
    torch.testing.assert_close(
        logprobs(exported), logprobs(student.base), rtol=0, atol=1e-6 if dtype == "float32" else 0.1
    )
    before, after = (tokenizer_fingerprint(load_tokenizer(tmp_path / name)) for name in ("student", "out"))
    assert before == after


def served(said: str) -> object:
    return yaml.safe_load("\n".join(line for line in said.splitlines() if line.startswith("  ")))


def test_what_cannot_be_exported_is_named_and_leaves_nothing(tmp_path: Path):
    run, _ = finished_run(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match="out is there already"):
        main(["export", str(run), str(out)])
    out.rmdir()
    with pytest.raises(UserError, match=r"can't read the settings file .*nowhere"):
        main(["export", str(tmp_path / "nowhere"), str(out)])
    (tmp_path / "student" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="can't load the weights"):
        main(["export", str(run), str(out), "--merge"])
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match="isn't finished"):
        main(["export", str(run), str(out)])
    assert not out.exists()


def test_the_card_says_what_the_student_is_made_of(tmp_path: Path):
    run, _ = finished_run(tmp_path)
    write_summary(run)
    append_metrics(run, {"progress/step": 0, "validation/loss": 2.0, "validation/kl": 1.5})
    append_metrics(run, {"progress/step": 5, "validation/loss": 1.0, "validation/kl": 0.25})
    write_summary(run)
    (run / "used.jsonl").write_text("{}\n")
    remember(run, "abc123")
    judgements = [
        {
            "model": name,
            "group": "unseen_tool",
            "rows": 50,
            "measures": {"loss": {"value": loss}, "calls": {"value": 1}},
        }
        for name, loss in ((run.name, 0.5), ("other", 0.7))
    ]
    (tmp_path / "scores.json").write_text(json.dumps({"judgements": judgements}))
    said = ["--license", "apache-2.0", "--teacher-license", "llama3.1", "--scores", str(tmp_path / "scores.json")]
    main(["export", str(run), str(tmp_path / "out"), *said])
    card = ModelCard.load(tmp_path / "out/README.md")
    assert (card.data.license, card.data.library_name, card.data.tags[-1]) == ("apache-2.0", "peft", "distillation")
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured == {"loss": 0.5}
    rows = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in card.text.splitlines() if "|" in line}
    assert rows["base"] == "student"
    assert rows["teacher"] == "teacher, revision abc123"
    assert rows["teacher's licence"] == "llama3.1"
    assert "| kl | 1.5 | 0.25 |" in card.text
    assert "| unseen_tool | 50 | 0.500 | – | – | – |" in card.text
    assert str(tmp_path) not in card.content


def test_a_card_states_what_nobody_said_as_not_stated(tmp_path: Path):
    run, _ = finished_run(tmp_path)
    main(["export", str(run), str(tmp_path / "out")])
    text = (tmp_path / "out/README.md").read_text()
    assert "license" not in ModelCard(text).data.to_dict()
    assert "| licence | not stated; the base's and the data's terms apply |" in text
    assert "| teacher's licence | not stated |" in text
    assert "Not stated: neither validated nor scored." in text


@pytest.mark.parametrize(
    ("scores", "said"),
    [({"judgements": [{"model": name} for name in "ab"]}, "scores a, b, none of them called"), ({"judgements": 1}, "")],
)
def test_scores_of_others_are_refused_before_anything_is_written(tmp_path: Path, scores: Any, said: str):
    run, _ = finished_run(tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(UserError, match=said or "holds no scores"):
        main(["export", str(run), str(tmp_path / "out"), "--scores", str(tmp_path / "scores.json")])
    assert not (tmp_path / "out").exists()
