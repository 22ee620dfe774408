"""Steps of two workers whose teacher leaves prompts without an answer, until it is too much."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from student_trainer.pipeline.teacher_news import NO_COUNTS, Newsagent, QuarantineLimit, TeacherNews
from tests.unit.student_trainer.stand_in import make_settings


def limit(tmp_path: Path, share: float) -> QuarantineLimit:
    teacher = {"url": "http://a", "model": "teacher", "quarantine_limit": share}
    return QuarantineLimit(make_settings(tmp_path, teacher=teacher))


def step(asked: int, *unanswered: str) -> TeacherNews:
    return TeacherNews(asked, unanswered, NO_COUNTS)


def metrics(*news: TeacherNews) -> dict[str, Any]:
    """What the workers' sums are."""
    each = [some.metrics() for some in news]
    return {name: sum(figures[name] for figures in each) for name in each[0]}


def test_too_large_a_share_stops_all_workers_alike(tmp_path: Path):
    judges = [limit(tmp_path, 0.1) for _ in range(2)]
    shares = [step(20, "413: got 9 tokens", "413: got 12 tokens", "poison"), step(20, "413: got 30 tokens")]
    for _ in range(2):  # 40 asked, then 80: 8 of them unanswered are just as many as allowed
        for judge, share in zip(judges, shares, strict=True):
            judge.judge(share, metrics(*shares), lambda names: names)
    last = [step(1, "NaN"), step(0)]
    gathered: list[str] = []
    with pytest.raises(
        UserError, match=r"left 9 of 81 prompts without an answer, teacher.quarantine_limit allows 10.0%"
    ):
        judges[1].judge(last[1], metrics(*last), lambda names: gathered.extend(names) or gathered)
    with pytest.raises(
        UserError, match=r": 6 times: …: got … tokens; 2 times: poison; 1 times: NaN; quarantine.jsonl in .*run"
    ):
        judges[0].judge(last[0], metrics(*last), lambda names: [*names, *gathered])


@pytest.mark.parametrize("shares", [[step(49, *"abcdefgh")], [step(1000, *"abcd")], [step(50, *"abcdefgh"), step(950)]])
def test_few_prompts_or_few_failures_are_not_judged(tmp_path: Path, shares: list[TeacherNews]):
    judge = limit(tmp_path, 0.0 if len(shares[0].unanswered) < 5 else 0.16)
    for share in shares:
        judge.judge(share, metrics(share), lambda names: names)


def test_without_a_teacher_nothing_is_counted(tmp_path: Path):
    assert TeacherNews().metrics() == {}
    judge = QuarantineLimit(make_settings(tmp_path, mode="sft", teacher=None))
    judge.judge(TeacherNews(), {}, lambda names: names)


def test_news_are_what_is_new():
    counts = {"retries": 2, "outage_s": 0.5}
    agent = Newsagent(lambda: counts)
    assert agent.news() == {"retries": 2, "outage_s": 0.5}
    counts = {"retries": 2, "outage_s": 1.0}
    assert agent.news() == {"retries": 0, "outage_s": 0.5}
