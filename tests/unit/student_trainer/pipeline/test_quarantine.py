"""Steps of two workers that set prompts aside, until it is too much."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from student_trainer.data.plan import Key, Kind, StepExamples, StepPlan, TeacherStats, Unused
from student_trainer.pipeline.quarantine import QuarantineLimit
from tests.unit.student_trainer.stand_in import make_settings


def limit(tmp_path: Path, share: float = 1.0, **changes: Any) -> QuarantineLimit:
    teacher = {"url": "http://a", "model": "teacher", "quarantine_limit": share}
    return QuarantineLimit(make_settings(tmp_path, **{"teacher": teacher} | changes))


def step(asked: int, *unanswered: str, teacher: bool = True, kind: Kind = "refused") -> StepExamples:
    unused = [Unused("row-1", Key(0, 0), kind, reason) for reason in unanswered]
    stats = TeacherStats(asked, len(unanswered)) if teacher else None
    return StepExamples(
        plan=StepPlan(1, 0, range(asked)), examples=[], unused=unused, began=0, waited_s=0, stream_s=0, teacher=stats
    )  # fmt: skip


def metrics(*steps: StepExamples) -> dict[str, Any]:
    """What the workers' sums are."""
    sums = Counter[str]()
    for each in steps:
        sums.update(each.teacher.metrics() if each.teacher else {})
        sums["progress/used"] += len(each.plan.indices) - len(each.unused)
        sums["progress/quarantined"] += each.quarantined
        sums["progress/dropped_by_length"] += each.dropped_by_length
    return dict(sums)


def alone(names: list[str]) -> list[str]:
    return names


def test_too_large_a_share_stops_all_workers_alike(tmp_path: Path):
    judges = [limit(tmp_path, 0.1) for _ in range(2)]
    shares = [step(20, "413: got 9 tokens", "413: got 12 tokens", "poison"), step(20, "413: got 30 tokens")]
    for _ in range(2):  # 40 asked, then 80: 8 of them unanswered are just as many as allowed
        for judge, share in zip(judges, shares, strict=True):
            judge.judge(share, metrics(*shares), False, alone)
    last = [step(1, "NaN"), step(0)]
    gathered: list[str] = []
    with pytest.raises(
        UserError, match=r"left 9 of 81 prompts without an answer, teacher.quarantine_limit allows 10.0%"
    ):
        judges[1].judge(last[1], metrics(*last), False, lambda names: gathered.extend(names) or gathered)
    with pytest.raises(
        UserError, match=r": 6 times: …: got … tokens; 2 times: poison; 1 times: NaN; quarantine.jsonl in .*run"
    ):
        judges[0].judge(last[0], metrics(*last), False, lambda names: [*names, *gathered])


@pytest.mark.parametrize("shares", [[step(49, *"abcdefgh")], [step(1000, *"abcd")], [step(50, *"abcdefgh"), step(950)]])
def test_few_prompts_or_few_failures_are_not_judged(tmp_path: Path, shares: list[StepExamples]):
    judge = limit(tmp_path, 0.0 if len(shares[0].unused) < 5 else 0.16)
    for share in shares:
        judge.judge(share, metrics(share), False, alone)


SFT = {"mode": "sft", "teacher": None}


def long(of: int, too_long: int) -> StepExamples:
    reasons = [f"row 3: {tokens} tokens, more than 64" for tokens in range(too_long)]
    return step(of, *reasons, teacher=False, kind="does_not_fit")


@pytest.mark.parametrize("changes", [SFT, {}])
def test_a_run_that_sets_most_prompts_aside_stops_in_every_mode(tmp_path: Path, changes: dict[str, Any]):
    judge, share = limit(tmp_path, **changes), long(60, 54)
    with pytest.raises(
        UserError, match=r"54 of 60 prompts were set aside, set_aside_limit allows 50.0%: 54 times: row …: … tokens"
    ):
        judge.judge(share, metrics(share), False, alone)
    limit(tmp_path, **changes, set_aside_limit=0.9).judge(share, metrics(share), True, alone)


def test_a_share_worth_a_warning_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    judge, share = limit(tmp_path, **SFT), long(60, 12)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            judge.judge(share, metrics(share), False, alone)
    (said,) = caplog.messages
    assert said.startswith("12 of 60 prompts were set aside (20%): 12 times: row …")


def test_a_run_that_used_nothing_does_not_end_well_however_short(tmp_path: Path):
    judge, share = limit(tmp_path, **SFT), long(4, 4)
    judge.judge(share, metrics(share), False, alone)
    with pytest.raises(UserError, match=r"none of 8 prompts could be used.*8 times: row …: … tokens, more than …"):
        judge.judge(share, metrics(share), True, alone)


def test_what_earlier_starts_used_and_set_aside_counts_too(tmp_path: Path):
    settings, share = make_settings(tmp_path, **SFT), long(4, 4)
    settings.run_folder.mkdir()
    settings.files.quarantine.write_text("{}\n" * 4)
    with pytest.raises(UserError, match="none of 8 prompts could be used"):
        QuarantineLimit(settings).judge(share, metrics(share), True, alone)
    settings.files.used.write_text("{}\n" * 92)
    QuarantineLimit(settings).judge(share, metrics(share), True, alone)


def test_a_short_run_is_judged_at_its_end(tmp_path: Path):
    judge, share = limit(tmp_path, **SFT), long(40, 39)
    judge.judge(share, metrics(share), False, alone)
    with pytest.raises(UserError, match="39 of 40 prompts were set aside"):
        limit(tmp_path, **SFT).judge(share, metrics(share), True, alone)


def test_reasons_that_differ_in_the_rows_id_count_as_one(tmp_path: Path):
    unused = [Unused(id, Key(0, 0), "does_not_fit", f"row {id}: too long") for id in ("Weather in Paris?", "rain")]
    share = StepExamples(plan=StepPlan(1, 0, range(2)), examples=[], unused=unused, began=0, waited_s=0, stream_s=0)
    with pytest.raises(UserError, match="2 times: row …: too long"):
        limit(tmp_path, **SFT).judge(share, metrics(share), True, alone)
