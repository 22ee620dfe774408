"""The loss against naive references: values, gradients, and what must change nothing.

Legend: N = positions, V = vocabulary, k = teacher's entries per position.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from student_trainer.loss import LossSums, Targets, TeacherRows, Weights, loss_sums, mean_loss

N, V = 7, 11
TEMPERATURES = [1.0, 2.0, 4.0]


def draw(seed: int, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, V, generator=generator, dtype=torch.float64) * scale


def teacher_rows(logits: Tensor, k: int) -> TeacherRows:
    """What a teacher with `logits` sends: its k best ids, and the mass of the others."""
    ordered, ids = logits.log_softmax(-1).sort(-1, descending=True)
    return TeacherRows(ids[:, :k], ordered[:, :k], ordered[:, k:].logsumexp(-1))


def make_targets(teacher: TeacherRows | None, distill: float = 1.0, instruct: float = 1.0) -> Targets:
    tokens = torch.arange(N) % V
    ones = torch.ones(N, dtype=torch.float64)
    return Targets(tokens, ones * (distill if teacher else 0), ones * instruct, teacher)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(loss, logits, retain_graph=True)
    return grad


def full_kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """KL over the whole vocabulary, times T^2, summed over positions: the textbook's way."""
    p = (teacher / temperature).softmax(-1)
    log_q = (student / temperature).log_softmax(-1)
    return functional.kl_div(log_q, p, reduction="sum") * temperature**2


def bucket_kl(teacher: Tensor, student: Tensor, k: int, temperature: float) -> Tensor:
    """KL over k+1 masses from probabilities, tail included, times T^2, position by position."""
    total = torch.zeros((), dtype=torch.float64)
    for t_row, s_row in zip(teacher.softmax(-1), student.softmax(-1), strict=True):
        ids = t_row.topk(k).indices
        p = torch.cat([t_row[ids], 1 - t_row[ids].sum()[None]]) ** (1 / temperature)
        q = torch.cat([s_row[ids], 1 - s_row[ids].sum()[None]]) ** (1 / temperature)
        p, q = p / p.sum(), q / q.sum()
        total = total + (p * (p / q).log()).sum() * temperature**2
    return total


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_whole_vocabulary_is_the_full_kl_in_value_and_gradient(temperature: float):
    teacher, student = draw(0), draw(1).requires_grad_()
    got = loss_sums(student, make_targets(teacher_rows(teacher, V)), temperature).distill
    expected = full_kl(teacher, student, temperature)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient(got, student), gradient(expected, student), rtol=0, atol=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("k", [1, 5, V - 1])
def test_top_k_is_the_kl_of_the_bucketed_masses(k: int, temperature: float):
    teacher, student = draw(2, scale=1), draw(3, scale=1).requires_grad_()
    got = loss_sums(student, make_targets(teacher_rows(teacher, k)), temperature).distill
    expected = bucket_kl(teacher, student, k, temperature)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient(got, student), gradient(expected, student), rtol=0, atol=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("k", [1, 5, V - 1, V])
def test_student_equal_to_the_teacher_has_no_loss_and_no_gradient(k: int, temperature: float):
    student = draw(4).requires_grad_()
    distill = loss_sums(student, make_targets(teacher_rows(student.detach(), k)), temperature).distill
    assert abs(distill.item()) < 1e-12
    assert gradient(distill, student).abs().max() < 1e-12


@pytest.mark.parametrize("k", [1, 5, V])
def test_cross_entropy_is_that_of_the_whole_vocabulary(k: int):
    student = draw(5).requires_grad_()
    targets = make_targets(teacher_rows(draw(6), k))
    expected = functional.cross_entropy(student, targets.token_ids, reduction="sum")
    for each in (targets, make_targets(None)):
        got = loss_sums(student, each, 1.0).instruct
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient(got, student), gradient(expected, student), rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [2, V])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradients_pass_gradcheck(k: int, temperature: float):
    targets = make_targets(teacher_rows(draw(7, scale=1), k))

    def loss(logits: Tensor) -> Tensor:
        return mean_loss(loss_sums(logits, targets, temperature), Weights(N, N), alpha=0.3)

    assert torch.autograd.gradcheck(loss, draw(8, scale=1).requires_grad_())


def test_alpha_one_is_pure_distillation_and_alpha_zero_pure_instruction():
    student, targets = draw(9), make_targets(teacher_rows(draw(10), 4))
    sums, weights = loss_sums(student, targets, 1.0), Weights(N, N)
    assert mean_loss(sums, weights, alpha=1.0) == sums.distill / N
    assert mean_loss(sums, weights, alpha=0.0) == sums.instruct / N
    assert mean_loss(sums, weights, alpha=0.25) == pytest.approx((sums.distill + 3 * sums.instruct).item() / (4 * N))
    assert sums.distill != pytest.approx(sums.instruct.item())


def test_a_term_without_weight_is_left_out():
    sums = loss_sums(draw(11), make_targets(None), 1.0)
    assert mean_loss(sums, Weights(0, N), alpha=0.0) == sums.instruct / N
    assert mean_loss(sums, Weights(0, 0), alpha=0.5) == 0


def test_doubling_the_positions_keeps_the_mean():
    """A token mean: dividing by sequences instead would let long batches swamp the other term."""
    student, rows = draw(12), teacher_rows(draw(13), 3)
    once = make_targets(rows)
    doubled_rows = TeacherRows(*(torch.cat([part, part]) for part in vars(rows).values()))
    weights = torch.cat([once.distill_weights, once.distill_weights])
    twice = Targets(torch.cat([once.token_ids, once.token_ids]), weights, weights, doubled_rows)
    one = mean_loss(loss_sums(student, once, 1.0), Weights(N, N), 0.5)
    two = mean_loss(loss_sums(torch.cat([student, student]), twice, 1.0), Weights(2 * N, 2 * N), 0.5)
    torch.testing.assert_close(one, two)


def test_positions_without_weight_carry_no_gradient():
    student, targets = draw(14).requires_grad_(), make_targets(teacher_rows(draw(15), 3))
    keep = torch.arange(N) != 2
    weighed = Targets(targets.token_ids, keep.double(), keep.double(), targets.teacher)
    grad = gradient(mean_loss(loss_sums(student, weighed, 1.0), Weights(N - 1, N - 1), 0.5), student)
    assert (grad[2] == 0).all()
    assert (grad[keep].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, V])
def test_extremes_stay_finite(k: int, dtype: torch.dtype):
    """Logits of +-1e4, the student surely wrong, and a teacher with all its mass inside k."""
    teacher = torch.full((N, V), -1e4, dtype=torch.float64)
    teacher[:, 0] = 1e4
    student = (-teacher).to(dtype).requires_grad_()
    for rows in (teacher_rows(teacher, k), all_mass_within(teacher_rows(teacher, k))):
        for temperature in TEMPERATURES:
            sums = loss_sums(student, make_targets(rows), temperature)
            loss = mean_loss(sums, Weights(N, N), 0.5)
            assert loss.isfinite()
            assert loss > 0
            assert gradient(loss, student).isfinite().all()


def all_mass_within(rows: TeacherRows) -> TeacherRows:
    return TeacherRows(rows.topk_ids, rows.topk_logprobs, torch.full_like(rows.tail_logprob, -torch.inf))


def test_the_tail_pulls_even_where_its_mass_is_tiny():
    """1 - sum(p) would round a tail of 1e-20 to zero, and its gradient with it."""
    student = torch.tensor([[50.0, 0.0, 0.0]], requires_grad=True)
    rows = TeacherRows(torch.tensor([[0]]), torch.tensor([[0.5]]).log(), torch.tensor([0.5]).log())
    one = torch.ones(1)
    distill = loss_sums(student, Targets(torch.tensor([0]), one, one, rows), 1.0).distill
    assert distill.item() == pytest.approx(
        0.5 * 50 - 0.5 * torch.tensor(2.0).log().item() + torch.tensor(0.5).log().item()
    )
    torch.testing.assert_close(gradient(distill, student), torch.tensor([[0.5, -0.25, -0.25]]))


def test_metrics_come_from_the_same_pass():
    teacher, k = draw(16), 4
    rows = teacher_rows(teacher, k)
    sums: LossSums = loss_sums(teacher, make_targets(rows), 1.0)
    inside = rows.topk_logprobs.exp().sum()
    assert sums.metrics["teacher_mass"].item() == pytest.approx(inside.item())
    assert sums.metrics["student_mass"].item() == pytest.approx(inside.item())
    assert sums.metrics["top1_agreement"] == N
    right = (teacher.argmax(-1) == torch.arange(N) % V).sum()
    assert sums.metrics["accuracy"] == right
