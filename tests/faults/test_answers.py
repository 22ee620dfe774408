"""Answers that are wrong: each is rejected, counted and asked again, and none reaches the student."""

import pytest

from student_trainer.persistence.run_folder import read_metrics
from tests.faults.checks import check_prompts, check_same
from tests.faults.conftest import Undisturbed
from tests.faults.relay import relaying
from tests.faults.runs import train_here
from tests.faults.served_teacher import ServedTeacher
from tests.faults.spoilers import WAYS, spoil_once

pytestmark = pytest.mark.timeout(900)
REASONS = (
    "topk_logprobs has NaN",
    "topk_logprobs has values above 0",
    "a position has mass",
    "topk_ids has ids outside the vocabulary",
    "topk_ids has duplicates",
    "it scores other tokens than those asked",
)


def test_answers_that_are_wrong_in_one_of_eight_ways(bigram: ServedTeacher, undisturbed: Undisturbed):
    """Every fourth prompt's first answer, so that the teacher isn't taken for one that always answers so."""
    run, spoiled = bigram.folder / "spoiled", set(bigram.order[::4])
    with relaying(bigram.url, bigram.order) as relay:
        relay.spoil = spoil_once(bigram.order[::4])
        train_here(bigram.config, run, {"teacher.url": relay.url})
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))
    assert {id for id, times in relay.asked.items() if times == 2} == spoiled
    assert relay.asked.total() == len(bigram.order) + len(spoiled)
    rejected = [line for line in (run / "log.txt").read_text().splitlines() if "rejected" in line]
    assert len(rejected) == len(spoiled)
    assert sum(line["teacher/rejected"] for line in read_metrics(run)) == len(spoiled)
    assert all(any(reason in line for line in rejected) for reason in REASONS), rejected[: len(WAYS)]
