"""The loss against its plain definition: values, gradients, and what must change nothing."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from student_trainer.loss.fused import loss_sums
from student_trainer.loss.head import Head
from student_trainer.loss.loss import plain_loss
from student_trainer.loss.targets import LossScale, Targets, TeacherTopK, Weights, loss_scale
from student_trainer.settings import TrainSettings
from student_trainer.student_settings import LossSettings
from tests.unit.student_trainer.loss.positions import (
    DISTILL,
    DIVERGENCES,
    INSTRUCT,
    PLAIN,
    TEMPERATURES,
    N,
    V,
    draw,
    gradient,
    make_targets,
    of_logits,
    teacher_top_k,
)
from tests.unit.student_trainer.stand_in import make_settings
from tests.unit.student_trainer.students import SFT

every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES, ids=[each["divergence"] for each in DIVERGENCES])
every_tail = pytest.mark.parametrize("tail", ["bucket", "renormalise"])


@every_divergence
@every_tail
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("k", [2, 5, V - 1, V])
def test_the_fused_loss_is_the_plain_one(divergence: dict[str, Any], tail: Any, temperature: float, k: int):
    loss, scale = LossSettings(**divergence, tail=tail, temperature=temperature), LossScale(0.3, 0.7)
    student, targets = draw(1).requires_grad_(), make_targets(teacher_top_k(draw(0), k))
    got, expected = of_logits(student, targets, loss, scale).loss, plain_loss(student, targets, loss, scale)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient(got, student), gradient(expected, student), rtol=0, atol=1e-9)


@every_divergence
@every_tail
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_with_the_whole_vocabulary_the_plain_loss_is_torchs_own(
    divergence: dict[str, Any], tail: Any, temperature: float
):
    """Logits divided by T, as everyone tempers them, and torch's KL of the two distributions."""
    loss = LossSettings(**divergence, tail=tail, temperature=temperature)
    teacher, student = draw(0), draw(1)
    p, q = ((logits / temperature).softmax(-1) for logits in (teacher, student))
    beta, skew = loss.beta or 0, loss.skew or 0
    expected = {
        "forward_kl": lambda: kl(p, q),
        "reverse_kl": lambda: kl(q, p),
        "jsd": lambda: beta * kl(p, beta * p + (1 - beta) * q) + (1 - beta) * kl(q, beta * p + (1 - beta) * q),
        "skewed_kl": lambda: kl(p, skew * p + (1 - skew) * q),
    }[loss.divergence]()
    got = plain_loss(student, make_targets(teacher_top_k(teacher, V)), loss, DISTILL)
    torch.testing.assert_close(got, expected * temperature**2)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return functional.kl_div(q.log(), p, reduction="sum")


@every_divergence
@every_tail
def test_student_equal_to_the_teacher_has_no_loss_and_no_gradient(divergence: dict[str, Any], tail: Any):
    for temperature in TEMPERATURES:
        for k in (1, 5, V - 1, V):
            student = draw(4, scale=3).requires_grad_()
            loss = LossSettings(**divergence, tail=tail, temperature=temperature)
            distill = of_logits(student, make_targets(teacher_top_k(student.detach(), k)), loss).loss
            assert abs(distill.item()) < 1e-12
            assert gradient(distill, student)[0].abs().max() < 1e-12


@every_divergence
@pytest.mark.parametrize("k", [3, V])
def test_the_further_the_student_moves_away_the_larger_the_loss(divergence: dict[str, Any], k: int):
    teacher = draw(5)
    sent = teacher_top_k(teacher, k)
    away = torch.zeros_like(teacher).scatter(-1, sent.topk_ids[:, :3], draw(6, columns=3))
    for temperature in TEMPERATURES:
        loss = LossSettings(**divergence, temperature=temperature)
        steps = [of_logits(teacher + size * away, make_targets(sent), loss).loss for size in (0, 0.5, 1, 2, 4, 8)]
        assert all(nearer < further for nearer, further in pairwise(steps))


@every_divergence
@pytest.mark.parametrize("k", [2, V])
def test_gradients_pass_gradcheck_at_another_temperature(divergence: dict[str, Any], k: int):
    targets, loss = make_targets(teacher_top_k(draw(7), k)), LossSettings(**divergence, temperature=2)
    head = draw(9, columns=5)[:, :4].repeat(2, 1)[:V].clone().requires_grad_()

    def value(hidden: Tensor, weight: Tensor) -> Tensor:
        return loss_sums(hidden, Head(weight), targets, loss, LossScale(0.3, 0.7)).loss

    assert torch.autograd.gradcheck(value, (draw(8, columns=4).requires_grad_(), head))


@pytest.mark.parametrize("k", [1, 5, V])
def test_cross_entropy_is_that_of_the_whole_vocabulary(k: int):
    student = draw(5, scale=3).requires_grad_()
    targets = make_targets(teacher_top_k(draw(6), k))
    for each in (targets, make_targets(None)):
        expected = functional.cross_entropy(student, targets.token_ids, reduction="sum")
        sums = of_logits(student, each, scale=INSTRUCT)
        torch.testing.assert_close(sums.loss, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(sums.metrics["ce"], expected.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient(sums.loss, student), gradient(expected, student), rtol=0, atol=1e-12)


def test_alpha_weighs_the_means_of_both_terms():
    assert loss_scale(Weights(4, 10), alpha=0.25) == LossScale(0.25 / 4, 0.75 / 10)
    assert loss_scale(Weights(0, 10), alpha=0.0) == LossScale(0, 0.1)
    assert loss_scale(Weights(0, 0), alpha=0.5) == LossScale(0, 0)
    student, targets = draw(9).requires_grad_(), make_targets(teacher_top_k(draw(10), 4))
    both = of_logits(student, targets, scale=loss_scale(Weights(N, N), 0.25))
    terms = [of_logits(student, targets, scale=scale) for scale in (DISTILL, INSTRUCT)]
    assert terms[0].loss.item() != pytest.approx(terms[1].loss.item())
    torch.testing.assert_close(both.loss, (terms[0].loss + 3 * terms[1].loss) / (4 * N))
    one, two = (gradient(term.loss, student)[0] for term in terms)
    torch.testing.assert_close(gradient(both.loss, student)[0], (one + 3 * two) / (4 * N))


def test_each_position_counts_with_its_own_weights():
    student, targets = draw(14).requires_grad_(), make_targets(teacher_top_k(draw(15), 3))
    weighed = Targets(targets.token_ids, torch.arange(N) / 2, torch.arange(N) % 3, targets.teacher)
    got = of_logits(student, weighed, scale=LossScale(0.5, 2))
    alone = [of_logits(student[[n]], targets[torch.tensor([n])]).metrics for n in range(N)]
    expected = sum(n / 4 * each["distill"] + 2 * (n % 3) * each["ce"] for n, each in enumerate(alone))
    assert got.loss.item() == pytest.approx(float(expected))
    assert (gradient(got.loss, student)[0].abs().sum(-1) > 0).tolist() == [n > 0 for n in range(N)]


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, V])
def test_extremes_stay_finite(divergence: dict[str, Any], k: int, dtype: torch.dtype):
    """Logits of +-1e4, the student surely wrong, and a teacher with all its mass inside k."""
    teacher = torch.full((N, V), -1e4, dtype=torch.float64)
    teacher[:, 0] = 1e4
    student = (-teacher).to(dtype).requires_grad_()
    sent = teacher_top_k(teacher, k)
    whole = TeacherTopK(sent.topk_ids, sent.topk_logprobs, torch.full_like(sent.tail_logprob, -torch.inf))
    for answer in (sent, whole):
        for temperature in TEMPERATURES:
            sums = of_logits(student, make_targets(answer), LossSettings(**divergence, temperature=temperature))
            assert sums.loss.isfinite()
            assert sums.loss > 0
            assert gradient(sums.loss, student)[0].isfinite().all()
            assert all(metric.isfinite() for metric in sums.metrics.values())


def test_the_tail_pulls_even_where_its_mass_is_tiny():
    """1 - sum(p) would round a tail of 1e-20 to zero, and its gradient with it."""
    student = torch.tensor([[50.0, 0.0, 0.0]], requires_grad=True)
    half = TeacherTopK(torch.tensor([[0]]), torch.tensor([[0.5]]).log(), torch.tensor([0.5]).log())
    one = torch.ones(1)
    distill = of_logits(student, Targets(torch.tensor([0]), one, one, half)).loss
    two = torch.tensor(2.0).log().item()
    assert distill.item() == pytest.approx(0.5 * 50 - 0.5 * two - two)
    torch.testing.assert_close(gradient(distill, student)[0], torch.tensor([[0.5, -0.25, -0.25]]))


def test_renormalised_masses_do_not_see_what_lies_outside():
    teacher, k = draw(17), 3
    targets, away = make_targets(teacher_top_k(teacher, k)), teacher.clone()
    away.scatter_add_(-1, teacher.argsort(-1, descending=True)[:, k:], torch.full((N, V - k), 9.0, dtype=torch.float64))
    assert of_logits(away, targets, LossSettings(tail="renormalise")).loss.abs() < 1e-12
    assert of_logits(away, targets, LossSettings(tail="bucket")).loss > N


def test_metrics_come_from_the_same_pass():
    teacher, student, k = draw(16), draw(18), 4
    sent = teacher_top_k(teacher, k)
    trained = of_logits(student, make_targets(sent), LossSettings(divergence="jsd", beta=0.5, temperature=2))
    sums = trained.metrics
    inside = student.softmax(-1).gather(-1, sent.topk_ids).sum()
    for name, settings in (("kl", PLAIN), ("reverse_kl", LossSettings(divergence="reverse_kl"))):
        assert sums[name].item() == pytest.approx(plain_loss(student, make_targets(sent), settings, DISTILL).item())
    assert sums["distill"] == trained.loss
    assert sums["teacher_mass"].item() == pytest.approx(sent.topk_logprobs.exp().sum().item())
    assert sums["student_mass"].item() == pytest.approx(inside.item())
    assert sums["top1_agreement"] == (teacher.argmax(-1) == student.argmax(-1)).sum()
    assert sums["accuracy"] == (student.argmax(-1) == torch.arange(N) % V).sum()


def test_entropies_are_the_vocabularys_when_the_teacher_sends_all_of_it():
    teacher, student = draw(19), draw(20)
    sums = of_logits(student, make_targets(teacher_top_k(teacher, V))).metrics
    for name, logits in (("teacher_entropy", teacher), ("student_entropy", student)):
        expected = torch.distributions.Categorical(logits=logits).entropy().sum()
        assert sums[name].item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"divergence": "jsd"}, "jsd needs beta"),
        ({"divergence": "skewed_kl", "beta": 0.5}, "beta is for divergence jsd, got skewed_kl"),
        ({"divergence": "skewed_kl"}, "skewed_kl needs skew"),
        ({"skew": 0.1}, "skew is for divergence skewed_kl, got forward_kl"),
        ({"divergence": "jsd", "beta": 1.0}, "beta"),
        ({"tail": "truncate"}, "tail"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        LossSettings(**changes)


def test_one_renormalised_id_is_refused(tmp_path: Any):
    settings = make_settings(tmp_path).model_dump()
    settings["teacher"]["top_k"], settings["loss"]["tail"] = 1, "renormalise"
    with pytest.raises(ValidationError, match="teaches nothing"):
        TrainSettings.model_validate(settings)
    assert TrainSettings.model_validate(settings | SFT)
