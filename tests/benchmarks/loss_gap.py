"""How far the KL over k + 1 masses is from the whole vocabulary's, by temperature and k: a peaked and a flat teacher.

`python -m tests.benchmarks.loss_gap`. Teachers' masses fall by Zipf's law over Llama's vocabulary; the student's logits
are the teacher's with noise of one nat. The table is the ratio of the two KLs, which stands in divergence.py too.
"""

import torch
from torch import Tensor

from student_trainer.loss.divergence import distill_terms, tempered
from student_trainer.student_settings import LossSettings
from tests.benchmarks.report import finish

V, POSITIONS = 128256, 16
EXPONENTS = {"peaked": 2.0, "flat": 1.0}
TEMPERATURES = (1.0, 2.0, 4.0)
KEPT = (8, 16, 32, 64, 128, 256)
TARGETS = {"peaked_t1_k64": "reported", "peaked_t2_k64": "reported", "flat_t1_k64": "reported"}


def main() -> None:
    figures = {}
    print("teacher  top-1   T " + "".join(f"{f'k={k}':>9}" for k in KEPT) + "   tail at k=64: as one id, in truth")
    for name, exponent in EXPONENTS.items():
        teacher = -exponent * torch.arange(1, V + 1, dtype=torch.float64).log().expand(POSITIONS, V)
        student = teacher + torch.randn(POSITIONS, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for temperature in TEMPERATURES:
            ratios = [gap(teacher, student, k, temperature) for k in KEPT]
            top = teacher.softmax(-1)[0, 0]
            tail = "{:16.3f} {:9.3f}".format(*tails(teacher, 64, temperature))
            print(f"{name:8} {top:.3f} {temperature:3.0f} " + "".join(f"{ratio:9.3f}" for ratio in ratios) + tail)
            figures |= {f"{name}_t{temperature:.0f}_k{k}": round(r, 4) for k, r in zip(KEPT, ratios, strict=True)}
    finish("loss_gap", {name: figures[name] for name in TARGETS}, TARGETS, met=True)


def gap(teacher: Tensor, student: Tensor, k: int, temperature: float) -> float:
    """The KL over the k most likely ids and the tail, divided by the KL over all ids, both at `temperature`."""
    loss = LossSettings(temperature=temperature)
    kept, whole = distill_terms(masses(teacher, k), masses(student, k), loss), distill_terms(teacher, student, loss)
    return float(kept.mean() / whole.mean())


def tails(teacher: Tensor, k: int, temperature: float) -> tuple[float, float]:
    """The tail's mass at `temperature`: tempered as if it were one id, and in truth."""
    one, all_ids = tempered(masses(teacher, k), temperature)[0], tempered(teacher, temperature)[0]
    return float(one[k].exp()), float(all_ids[k:].logsumexp(0).exp())


def masses(logits: Tensor, k: int) -> Tensor:
    """Log masses [POSITIONS, k + 1]: the teacher's most likely ids come first."""
    return torch.cat([logits[:, :k], logits[:, k:].logsumexp(-1, keepdim=True)], -1)


if __name__ == "__main__":
    main()
