"""Answers that are wrong: each is rejected, counted and asked again, and none reaches the student."""

import pytest

from student_trainer.persistence.run_folder import read_metrics
from tests.faults.checks import check_prompts, check_same
from tests.faults.conftest import Undisturbed
from tests.faults.relay import relaying
from tests.faults.runs import train_here
from tests.faults.served_teacher import ServedTeacher
from tests.faults.spoilers import WAYS, spoil_each_once

pytestmark = pytest.mark.timeout(900)
REASONS = (
    "topk_logprobs has NaN",
    "topk_logprobs has values above 0",
    "a position has mass",
    "topk_ids has ids outside the vocabulary",
    "topk_ids has duplicates",
    "it scores other tokens than those asked",
)


def test_every_first_answer_is_wrong_in_one_of_eight_ways(bigram: ServedTeacher, undisturbed: Undisturbed):
    run = bigram.folder / "spoiled"
    with relaying(bigram.url, bigram.order) as relay:
        relay.spoil = spoil_each_once()
        train_here(bigram.config, run, {"teacher.url": relay.url})
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))
    assert set(relay.asked.values()) == {2}
    rejected = [line for line in (run / "log.txt").read_text().splitlines() if "rejected" in line]
    assert len(rejected) == len(bigram.order)
    assert sum(line["teacher/rejected"] for line in read_metrics(run)) == len(bigram.order)
    assert all(any(reason in line for line in rejected) for reason in REASONS), rejected[: len(WAYS)]
