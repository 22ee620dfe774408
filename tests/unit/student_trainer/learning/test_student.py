"""The student: frozen base and trainable adapters, hidden states and head, saving."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from common.errors import UserError
from common.sequences import Sequence
from student_trainer.batching.batch import Batch, Collator
from student_trainer.data.plan import Example, Key
from student_trainer.learning.student import Student, load_student
from student_trainer.loss.targets import LossScale
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.stand_in import VOCABULARY_SIZE
from tests.unit.student_trainer.students import student_settings

CPU = torch.device("cpu")
SEQUENCES = [
    Sequence("a", (5, 6, 7), (8, 9), "dataset", "stop"),
    Sequence("b", (15,), (16, 17, 18, 19, 20), "dataset", "stop"),
]


def batch_of(sequences: list[Sequence]) -> Batch:
    examples = [Example(each, None, Key(0, 0)) for each in sequences]
    (batch,) = Collator(VOCABULARY_SIZE, False, CPU, size=9).micro_batches(examples)
    return batch


def gradients(student: Student, batch: Batch) -> list[torch.Tensor]:
    loss = student(batch, LossSettings(), LossScale(0, 1 / len(batch.targets.token_ids))).loss
    return list(torch.autograd.grad(loss, student.trainable()))


def test_head_of_hidden_is_the_plain_models_logits(tmp_path: Path):
    """A fresh adapter changes nothing, so each completion's logits must be the base model's on that sequence alone."""
    student = load_student(student_settings(tmp_path / "student"), CPU, seed=0)
    batch = batch_of(SEQUENCES)
    head = student.head()
    got = torch.nn.functional.linear(student.hidden(batch), head.weight, head.bias)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    expected = []
    for sequence in sorted(SEQUENCES, key=len, reverse=True):
        logits = plain(torch.tensor([sequence.prompt_ids + sequence.completion_ids])).logits[0]
        expected.append(logits[len(sequence.prompt_ids) - 1 : -1])
    torch.testing.assert_close(got, torch.cat(expected), rtol=0, atol=1e-5)


def test_padding_and_order_in_the_batch_change_no_gradient(tmp_path: Path):
    student = load_student(student_settings(tmp_path / "student"), CPU, seed=0)
    together, swapped = gradients(student, batch_of(SEQUENCES)), gradients(student, batch_of(SEQUENCES[::-1]))
    apart = [gradients(student, batch_of([sequence])) for sequence in SEQUENCES]
    weights = [len(sequence.completion_ids) / 7 for sequence in SEQUENCES]
    for both, other, one, two in zip(together, swapped, *apart, strict=True):
        torch.testing.assert_close(both, other, rtol=0, atol=1e-6)
        torch.testing.assert_close(both, weights[0] * one + weights[1] * two, rtol=0, atol=1e-6)


def test_only_adapters_learn_and_a_seed_draws_them(tmp_path: Path):
    settings = student_settings(tmp_path / "student", lora={"rank": 4, "target_modules": ["q_proj", "v_proj"]})
    student = load_student(settings, CPU, seed=3)
    names = [name for name, parameter in student.named_parameters() if parameter.requires_grad]
    assert len(names) == 2 * 2 * 2
    assert all("lora_" in name and ("q_proj" in name or "v_proj" in name) for name in names)
    again, other = load_student(settings, CPU, seed=3), load_student(settings, CPU, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(student.trainable(), again.trainable(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(student.trainable(), other.trainable(), strict=True))


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path):
    plain = load_student(student_settings(tmp_path / "student"), CPU, seed=0)
    saving = load_student(student_settings(tmp_path / "student", gradient_checkpointing=True), CPU, seed=0)
    assert saving.base.is_gradient_checkpointing
    batch = batch_of(SEQUENCES)
    for a, b in zip(gradients(plain, batch), gradients(saving, batch), strict=True):
        torch.testing.assert_close(a, b)


def test_a_saved_adapter_loads_to_the_bit(tmp_path: Path):
    settings = student_settings(tmp_path / "student")
    student, other = load_student(settings, CPU, seed=0), load_student(settings, CPU, seed=1)
    for parameter in student.trainable():
        torch.nn.init.normal_(parameter)
    student.save(tmp_path / "adapter", student.weights())
    other.load(tmp_path / "adapter")
    assert all(torch.equal(a, b) for a, b in zip(student.trainable(), other.trainable(), strict=True))
    assert {file.name for file in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_a_missing_model_is_named(tmp_path: Path):
    tmp_path.joinpath("empty").mkdir()
    settings = student_settings(tmp_path / "empty")
    with pytest.raises(UserError, match=r"student\.model.*empty"):
        load_student(settings, CPU, seed=0)


def test_a_model_without_weights_is_named(tmp_path: Path):
    settings = student_settings(tmp_path / "student")
    (tmp_path / "student" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"student\.model: can't load the weights of .*student"):
        load_student(settings, CPU, seed=0)


def test_adapters_on_the_head_are_refused(tmp_path: Path):
    settings = student_settings(tmp_path / "student", lora={"rank": 4, "target_modules": ["q_proj", "lm_head"]})
    with pytest.raises(UserError, match="head"):
        load_student(settings, CPU, seed=0)


def test_target_modules_that_match_nothing_are_refused(tmp_path: Path):
    settings = student_settings(tmp_path / "student", lora={"rank": 4, "target_modules": ["nonesuch"]})
    with pytest.raises(UserError, match="target_modules"):
        load_student(settings, CPU, seed=0)
