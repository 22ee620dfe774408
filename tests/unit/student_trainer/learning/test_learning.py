"""What learns: adapters of every kind, or every weight; and in which type."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from common.errors import UserError
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.learning.student import Student, load_student
from student_trainer.loop import train
from student_trainer.loss.targets import LossScale
from student_trainer.persistence import run_folder
from student_trainer.persistence.run_folder import read_metrics
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.learning.test_student import CPU, SEQUENCES, batch_of
from tests.unit.student_trainer.pair import run_pair
from tests.unit.student_trainer.stand_in import make_row
from tests.unit.student_trainer.students import ALONE, SFT, save_student, short_run, student_settings

BATCH = batch_of(SEQUENCES)
SCALE = LossScale(0, 1 / len(BATCH.targets.token_ids))
WHOLE: dict[str, Any] = {"lora": None}


def make_student(tmp_path: Path, tied: bool = False, seed: int = 0, **changes: Any) -> Student:
    folder = tmp_path / f"student-{tied}"
    if not folder.exists():
        save_student(folder, tied=tied)
    return load_student(student_settings(folder, **changes), CPU, seed)


def loss_and_gradients(student: Student) -> tuple[float, dict[str, Tensor]]:
    """With the same draws of dropout each time."""
    torch.manual_seed(0)
    loss = student(BATCH, LossSettings(), SCALE).loss
    names = list(student.weights())
    return loss.item(), dict(zip(names, torch.autograd.grad(loss, student.trainable()), strict=True))


@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_gets_the_plain_models_gradient(tmp_path: Path, tied: bool):
    """Also one that is both embedding and head, and when activations are computed anew."""
    students = [make_student(tmp_path, tied, gradient_checkpointing=again, **WHOLE) for again in (False, True)]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / f"student-{tied}")
    logits = plain(BATCH.input_ids, attention_mask=BATCH.attention_mask).logits.flatten(0, 1)[BATCH.hidden_indices]
    nn.functional.cross_entropy(logits, BATCH.targets.token_ids).backward()
    expected = {name: each.grad for name, each in plain.named_parameters()}
    assert ("lm_head.weight" in expected) != tied
    for student in students:
        torch.testing.assert_close(loss_and_gradients(student)[1], expected)


def train_whole(world: ProcessGroup, settings: TrainSettings) -> None:
    train(settings, world)


def test_two_workers_learn_every_weight_as_one_does(tmp_path: Path):
    """Both uses of tied weights, and the norms: summed over workers that have 3, 2 and then no sequences."""
    student = student_settings(save_student(tmp_path / "student", tied=True), **WHOLE).model_dump()
    rows = [make_row(number, completion="yes" * (1 + number % 3)) for number in range(6)]
    one, two = (
        short_run(tmp_path, rows=rows, run_folder=tmp_path / name, student=student, batch_size=5, **SFT)
        for name in ("one", "two")
    )
    for settings in (one, two):
        run_folder.prepare(settings)
    run_pair(train_whole, two)
    train_whole(ALONE, one)
    for alone, together in zip(read_metrics(one.run_folder), read_metrics(two.run_folder), strict=True):
        for name in ("train/loss", "optim/grad_norm", "progress/used"):
            assert alone[name] == pytest.approx(together[name], rel=1e-5), name
    models = [load_file(settings.run_folder / "model" / "model.safetensors") for settings in (one, two)]
    torch.testing.assert_close(models[1], models[0], rtol=0, atol=1e-5)
    start = load_file(tmp_path / "student" / "model.safetensors")
    assert all((models[0][name] - start[name]).abs().max() > 1e-3 for name in start)


@pytest.mark.parametrize(
    "changes",
    [WHOLE, {"lora": {"rank": 4, "dropout": 0.3}}, {"lora": {"rank": 4, "use_dora": True}}],
    ids=["whole", "adapters", "dora"],
)
def test_in_bfloat16_products_are_rounded_and_what_learns_is_not(tmp_path: Path, changes: dict[str, Any]):
    exact, rounded, again = (
        make_student(tmp_path, True, dtype=dtype, gradient_checkpointing=anew, **changes)
        for dtype, anew in (("float32", False), ("bfloat16", False), ("bfloat16", True))
    )
    for student in (exact, rounded, again):  # B is no longer zero: every gradient is something
        torch.manual_seed(1)
        for each in [each for name, each in student.weights().items() if "lora_B" in name]:
            each.normal_(std=0.1)
    (loss, expected), (near, gradients) = map(loss_and_gradients, (exact, rounded))
    assert near != loss
    assert near == pytest.approx(loss, rel=0.01)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert nn.functional.cosine_similarity(gradient.flatten(), expected[name].flatten(), 0) > 0.98, name
    torch.testing.assert_close(loss_and_gradients(again)[1], gradients)


@pytest.mark.parametrize(
    ("lora", "layers"),
    [
        ({"dropout": 0.3}, 7 * 2),
        ({"use_rslora": True, "target_modules": ["q_proj", "mlp.up_proj"]}, 2 * 2),
        ({"use_dora": True, "target_modules": r"model\.layers\.1\..*\.(q|v)_proj"}, 2),
        ({"target_modules": ["embed_tokens", "o_proj"]}, 1 + 2),
    ],
    ids=["dropout", "rslora", "dora", "embeddings"],
)
def test_adapters_of_every_kind_learn_and_are_saved_to_the_bit(tmp_path: Path, lora: dict[str, Any], layers: int):
    settings = {"rank": 4, "alpha": 8} | lora
    student, other = (make_student(tmp_path, seed=seed, lora=settings) for seed in (0, 1))
    assert len(student.trainable()) == layers * (3 if "use_dora" in lora else 2)
    for each in student.weights().values():
        each.add_(torch.rand_like(each) / 10)
    assert all(gradient.abs().sum() > 0 for gradient in loss_and_gradients(student)[1].values())
    student.save(tmp_path / "saved", student.weights())
    other.load(tmp_path / "saved")
    torch.testing.assert_close(other.weights(), student.weights(), rtol=0, atol=0)
    assert loss_and_gradients(other)[0] == loss_and_gradients(student)[0]
    scales = {each.scaling["default"] for each in student.modules() if isinstance(each, LoraLayer)}
    assert scales == {8 / (math.sqrt(4) if "use_rslora" in lora else 4)}


@pytest.mark.parametrize("lora", [{}, {"use_dora": True, "use_rslora": True}])
def test_adapters_learn_on_4_bits_quantised_twice(tmp_path: Path, lora: dict[str, Any]):
    student = make_student(tmp_path, quantization="nf4", dtype="bfloat16", lora={"rank": 4} | lora)
    states = [each.quant_state for each in student.parameters() if hasattr(each, "quant_state")]
    assert len(states) == 7 * 2
    assert all(each.quant_type == "nf4" and each.nested for each in states)
    gradients = loss_and_gradients(student)[1]
    assert all(each.isfinite().all() for each in gradients.values())
    assert any(each.abs().sum() > 0 for each in gradients.values())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (WHOLE | {"quantization": "nf4"}, "quantization nf4 can't learn itself; set lora"),
        ({"lora": {"target_modules": "*_proj"}}, "not a regular expression"),
    ],
)
def test_settings_that_cannot_learn_are_refused(tmp_path: Path, changes: dict[str, Any], complaint: str):
    with pytest.raises(ValidationError, match=complaint):
        make_student(tmp_path, **changes)


def test_an_adapter_on_embeddings_that_are_the_head_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"target_modules includes the embeddings, which are tied to the output head"):
        make_student(tmp_path, tied=True, lora={"target_modules": ["embed_tokens", "q_proj"]})
