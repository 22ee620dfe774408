"""The pool over stand-in teachers that fail: failover, breakers, outages, poison prompts, replaced teachers."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import UserError
from common.teacher_client.failures import PromptFailed, TeacherUnavailable
from common.teacher_client.handshake import HandshakeError
from common.teacher_client.pool import TeacherPool
from common.wire import TeacherAnswer
from tests.unit.common.teacher_client.served import REFUSED, A, B, Fault, Outages, Served, ask, pool_over, settings
from tests.virtual_time import run

BROKEN = httpx.Response(500, text="<html>a proxy's own words")
OVERLOAD = httpx.Response(503, headers={"Retry-After": "7"}, json={"error": {"code": "overloaded", "message": "busy"}})

NO_ENGINE = httpx.Response(
    503, headers={"Retry-After": "1"}, json={"error": {"code": "engine_unavailable", "message": "dead"}}
)
NO_APPLICATION = httpx.Response(404, text="Path not found")
PAGE = httpx.Response(200, text="<html>back in a minute")


async def ask_all(pool: TeacherPool, numbers: Iterable[int]) -> list[Any]:
    """For each prompt its own id, or its exception."""
    outcomes = await asyncio.gather(*(pool.distill(ask(number)) for number in numbers), return_exceptions=True)
    return [outcome if isinstance(outcome, BaseException) else outcome[0].id for outcome in outcomes]


def rows(numbers: Iterable[int]) -> list[str]:
    return [f"row-{number}" for number in numbers]


def only(*numbers: int, met: Fault = BROKEN) -> Callable[[str], Fault]:
    """A fault that these prompts meet, always."""
    return lambda id: met if id in rows(numbers) else None


def test_requests_go_where_least_is_under_way():
    async def work() -> None:
        served = {A: Served(), B: Served()}
        async with pool_over(served) as pool:
            assert await ask_all(pool, range(10)) == rows(range(10))
            for number in range(4):  # one after the other
                await pool.distill(ask(number))
        assert [len(each.prompts()) for each in served.values()] == [7, 7]

    run(work())


def test_a_failing_endpoint_is_left_alone_and_its_requests_go_elsewhere():
    async def work() -> None:
        bad, good = Served(lambda id: BROKEN if id.startswith("row-") else None), Served()
        async with pool_over({A: bad, B: good}) as pool:
            for some in range(0, 40, 4):
                assert await ask_all(pool, range(some, some + 4)) == rows(range(some, some + 4))
            counts = pool.counts()
        assert counts["retries"] == len(bad.prompts()) < 20
        assert counts["opened"] >= 2  # its card is well, so it is tried again now and then
        assert counts["outage_s"] == 0
        assert len(bad.times("")) < 9

    run(work())


@pytest.mark.parametrize(
    ("met", "said"),
    [
        (REFUSED, "connection refused"),
        (httpx.ReadTimeout(""), "ReadTimeout"),
        (NO_ENGINE, "HTTP 503: dead"),
        (NO_APPLICATION, "the teacher refused the request (404): Path not found"),
    ],
)
def test_an_outage_is_counted_down_and_waited_out(met: Fault, said: str, caplog: pytest.LogCaptureFixture):
    async def work() -> None:
        teacher = Served(Outages((0, 5), (20, 67), met=met))
        async with pool_over({A: teacher}) as pool:
            for some in range(0, 60, 4):
                assert await ask_all(pool, range(some, some + 4)) == rows(range(some, some + 4))
                await asyncio.sleep(1)
            assert 45 <= pool.counts()["outage_s"] <= 90
            assert len(teacher.times("")) < 25

    with caplog.at_level(logging.INFO, "student_trainer"):
        run(work())
    lines = [record.getMessage() for record in caplog.records]
    assert f"no teacher answers (http://a/teacher: {said}); waiting, gives up in 600 s" in lines
    assert any(re.match(r"no teacher answers for 30 s \(.*\); waiting, gives up in 5\d\d s", line) for line in lines)
    assert sum("answers again" in line for line in lines) == 2
    assert len(lines) <= 9  # two beginnings, two ends, a line every 15 s


@pytest.mark.parametrize("patience_s", [0, 40])
@pytest.mark.parametrize("from_s", [0, 10])
def test_patience_ends(patience_s: float, from_s: float):
    async def work() -> None:
        loop, began = asyncio.get_running_loop(), 0.0
        try:
            async with pool_over(
                {A: Served(Outages((from_s, 1e9))), B: Served(Outages((0, 1e9)))}, patience_s=patience_s
            ) as pool:
                for number in range(100):
                    began = loop.time()
                    await pool.distill(ask(number))
        finally:
            assert not from_s or patience_s <= loop.time() - began <= patience_s + 20

    said = r"no teacher answers.*http://a/teacher: connection refused; http://b/teacher: connection refused\); once one"
    with pytest.raises(TeacherUnavailable, match=said):
        run(work())


def card_alone() -> Served:
    """A teacher whose card stays well while, from the 30th second on, it fails all requests."""
    failing = Outages((30, 1e9), met=BROKEN)
    return Served(lambda id: failing(id) if id else None)


@pytest.mark.parametrize(("endpoints", "at_once"), [(1, 8), (2, 1), (2, 8)])
def test_a_teacher_whose_card_alone_is_well_is_an_outage_too(endpoints: int, at_once: int):
    async def work() -> None:
        async with pool_over({url: card_alone() for url in (A, B)[:endpoints]}, patience_s=60) as pool:
            async with asyncio.timeout(1000):
                while True:
                    await asyncio.gather(*(pool.distill(ask(number)) for number in range(at_once)))

    with pytest.raises(TeacherUnavailable, match="no teacher answers for 6"):
        run(work())


def test_an_overloaded_teacher_is_asked_again_when_it_says_and_another_at_once():
    async def work() -> None:
        busy = Outages((5, 12), met=OVERLOAD)
        slow = Served(lambda id: busy(id) if id != "" else None)
        async with pool_over({A: slow}) as pool:
            await asyncio.sleep(5)
            await pool.distill(ask(0))
            first, second = slow.times("row-0")
            assert 7 <= second - first <= 7 * 1.5
            assert pool.counts() == {"retries": 1, "rejected": 0, "opened": 0, "outage_s": 0}
        one, other = Served(only(0, met=OVERLOAD)), Served()
        async with pool_over({A: one, B: other}) as pool:
            await pool.distill(ask(0))
            assert other.times("row-0")[0] - one.times("row-0")[0] < 1
            assert await ask_all(pool, [1, 2]) == rows([1, 2])
            assert one.prompts() == ["row-0"]  # it rests

    run(work())


@pytest.mark.parametrize(("overloaded_s", "met"), [(100, OVERLOAD), (100, httpx.Response(429)), (1000, OVERLOAD)])
def test_overload_is_put_up_with_while_anything_is_answered(overloaded_s: float, met: Fault):
    async def work() -> None:
        busy = Outages((0, overloaded_s), met=met)
        async with pool_over({A: Served(lambda id: busy(id) if id == "row-0" else None)}, patience_s=60) as pool:
            unlucky = asyncio.create_task(pool.distill(ask(0)))
            for number in range(1, 100):
                await pool.distill(ask(number))
            await unlucky

    if overloaded_s < 150:
        run(work())
        return
    with pytest.raises(
        TeacherUnavailable, match=r"has too much to do to answer anything for [67]. s \(HTTP 503: busy\)"
    ):
        run(work())


@pytest.mark.parametrize(("others", "hangs_s"), [(0, 0), (15, 0), (0, 500)])
def test_a_poison_prompt_is_told_from_a_poorly_teacher(others: int, hangs_s: float):
    async def work() -> None:
        teacher = Served(only(0))
        teacher.hangs_s = hangs_s
        async with pool_over({A: teacher}) as pool:
            failed, *answered = await ask_all(pool, range(1 + others))
            assert answered == rows(range(1, 1 + others))
            assert isinstance(failed, PromptFailed)
            assert str(failed) == "no answer in 4 attempts; the last: HTTP 500: <html>a proxy's own words"
            assert len(teacher.times("row-0")) == 4
            assert await ask_all(pool, [1]) == ["row-1"]

    run(work())


def test_any_answer_tells_a_poison_prompt_not_only_that_of_the_proven_one():
    class Forgetful(Served):
        """Fails row-0, and hangs when it is asked again what it answered in the handshake."""

        async def __call__(self, request: httpx.Request) -> httpx.Response:
            if b"probe/" in request.content and len(self.asked) > 3:
                await asyncio.sleep(1e6)
            return await super().__call__(request)

    async def work() -> None:
        async with pool_over({A: Forgetful(only(0))}, patience_s=1e5) as pool, asyncio.timeout(200):
            await pool.distill(ask(1))  # else the first failure leaves the endpoint alone
            poison = asyncio.create_task(pool.distill(ask(0)))
            while not poison.done():
                await pool.distill(ask(1))
            assert isinstance(poison.exception(), PromptFailed)

    run(work())


def test_a_prompt_that_kills_the_teacher_takes_no_other_with_it():
    class Fragile(Served):
        """Dies of row-0, with all that is under way, and needs 20 s to come up again."""

        dead_until = 0.0

        def __init__(self) -> None:
            super().__init__(self.die)

        def die(self, id: str) -> Fault:
            now = asyncio.get_running_loop().time()
            if id == "row-0" and now > self.dead_until and self.times(id)[-1] < now:
                self.dead_until = now + 20
                return httpx.RemoteProtocolError("peer closed connection")
            return REFUSED if now < self.dead_until else None

    async def work() -> None:
        async with pool_over({A: Fragile()}, attempts=6) as pool:
            failed, *answered = await ask_all(pool, range(16))
        assert isinstance(failed, PromptFailed)
        assert answered == rows(range(1, 16))

    run(work())


def test_an_outage_under_way_counts_also_for_the_thread_that_trains():
    async def work() -> None:
        async with pool_over({A: Served(Outages((5, 30)))}) as pool:
            await asyncio.sleep(5)
            asked = asyncio.create_task(pool.distill(ask(0)))
            await asyncio.sleep(15)
            with ThreadPoolExecutor(1) as trainer:
                so_far = trainer.submit(pool.counts).result()["outage_s"]
            await asked
            assert 10 <= so_far <= 15
            assert 20 <= pool.counts()["outage_s"] <= 40

    run(work())


def test_a_page_in_the_teachers_place_is_an_outage_once_a_teacher_was_there():
    async def work(*spans: tuple[float, float]) -> None:
        async with pool_over({A: Served(Outages(*spans, met=PAGE))}) as pool:
            for some in range(0, 40, 4):
                assert await ask_all(pool, range(some, some + 4)) == rows(range(some, some + 4))
                await asyncio.sleep(1)
            assert 20 <= pool.counts()["outage_s"] <= 40

    run(work((5, 30)))
    with pytest.raises(UserError, match=r"isn't a teacher this client knows: Invalid JSON"):
        run(work((0, 30)))


def test_a_page_in_the_place_of_a_card_that_must_be_seen_again_is_waited_out():
    async def work() -> None:
        pages = Outages((5, 30), met=PAGE)
        teacher = Served(lambda id: None if id else pages(id), revision="r1")
        async with pool_over({A: teacher}, on_new_revision="accept") as pool:
            await pool.distill(ask(0))
            await asyncio.sleep(6)
            teacher.teacher.revision = "r2"
            assert await ask_all(pool, range(1, 5)) == rows(range(1, 5))

    run(work())


def test_a_refusal_is_not_asked_again_and_a_stranger_is_no_teacher():
    async def work() -> None:
        teacher = Served(only(0, met=httpx.Response(422, json={"error": {"message": "top_k: got 9"}})))
        async with pool_over({A: teacher}) as pool:
            with pytest.raises(PromptFailed, match="422") as caught:
                await pool.distill(ask(0))
            assert caught.value.kind == "refused"
            assert len(teacher.times("row-0")) == 1
        async with pool_over({A: Served(lambda id: httpx.Response(200, text="{}"))}):
            pass

    with pytest.raises(UserError, match="isn't a teacher this client knows"):
        run(work())


def test_cancelling_leaves_nothing_behind():
    async def work() -> None:
        teacher = Served(Outages((10, 30)))
        async with pool_over({A: teacher}) as pool:
            for begin_s, wait in ((0, 0.5), (10, 1.5)):  # under way, then waiting in an outage
                await asyncio.sleep(begin_s)
                asked = asyncio.create_task(pool.distill(ask(0)))
                await asyncio.sleep(wait)
                asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked
            assert await ask_all(pool, range(4)) == rows(range(4))
            assert teacher.teacher.in_flight == 0
        assert len(asyncio.all_tasks()) == 1

    run(work())


def test_an_endpoint_whose_answers_are_bad_is_left_alone_like_one_that_is_down():
    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        bad = answer.id.startswith("row-")
        return replace(answer, tail_logprob=np.full_like(answer.tail_logprob, np.nan)) if bad else answer

    async def work() -> None:
        served = {A: Served(spoil=spoil), B: Served()}
        async with pool_over(served) as pool:
            for some in range(0, 200, 4):
                assert await ask_all(pool, range(some, some + 4)) == rows(range(some, some + 4))
            counts = pool.counts()
        assert counts["opened"] >= 2  # the probe's own request is answered well, so it is tried again now and then
        assert counts["rejected"] == counts["retries"] == len(served[A].prompts()) < 50

    run(work())


def test_a_teacher_whose_first_answers_are_bad_is_refused_at_once():
    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        return replace(answer, tail_logprob=np.full_like(answer.tail_logprob, np.nan))

    async def meet() -> None:
        async with asyncio.timeout(60), pool_over({A: Served(spoil=spoil)}):
            pass

    with pytest.raises(HandshakeError, match=rf"the teacher at {A} is not aligned with its own words: .*NaN"):
        run(meet())


@pytest.mark.parametrize(("bad", "kind"), [(True, "bad_answer"), (False, "failed")])
def test_a_prompt_that_fails_for_good_says_of_which_kind(bad: bool, kind: str):
    def spoil(answer: TeacherAnswer) -> TeacherAnswer:
        return replace(answer, revision="r1", model="another") if bad and answer.id == "row-0" else answer

    async def work() -> None:
        async with pool_over({A: Served(only() if bad else only(0), spoil=spoil)}) as pool:
            failed, answered = await ask_all(pool, [0, 1])
        assert isinstance(failed, PromptFailed)
        assert (failed.kind, answered) == (kind, "row-1")

    run(work())


def replaced(after_s: float, policy: str, **changes: Any) -> Served:
    """Ask one teacher whose card and weights change; returns it."""

    async def work() -> Served:
        teacher = Served(Outages((after_s, after_s + 5)), revision="r1")
        async with pool_over({A: teacher}, on_new_revision=policy) as pool:
            for number in range(20):
                await pool.distill(ask(number))
                if number == 5:
                    teacher.teacher.revision = changes.get("revision", "r1")
                    teacher.teacher.card = {name: value for name, value in changes.items() if name != "revision"}
        return teacher

    return run(work())


@pytest.mark.parametrize("after_s", [8.5, 1e9])
def test_a_new_revision_is_noticed_with_and_without_an_outage(after_s: float, caplog: pytest.LogCaptureFixture):
    with pytest.raises(UserError, match="got revision r2 of teacher, the run began with r1; serve that one again"):
        replaced(after_s, "stop", revision="r2")
    teacher = replaced(after_s, "accept", revision="r2")
    assert len(set(teacher.prompts())) == 20
    assert sum("got revision r2 of teacher, the run began with r1: accepted" in line for line in caplog.messages) == 1
    assert [id for id, _ in teacher.asked].count("probe/scored") == 2


def test_a_teacher_that_fits_no_more_after_an_outage_stops_the_run():
    with pytest.raises(HandshakeError, match=r"the teacher at http://a/teacher doesn't fit.*its tokenizer is 000000"):
        replaced(8.5, "accept", tokenizer_fingerprint="0" * 64)


def test_all_endpoints_shake_hands():
    async def meet(other: Served, seconds: float = 0) -> None:
        async with pool_over({A: Served(), B: other}, on_new_revision="accept") as pool:
            for number in range(int(seconds)):
                await pool.distill(ask(number))
                await asyncio.sleep(1)

    with pytest.raises(HandshakeError, match=rf"got revision r2 .*{B}.* r1 from {A}|r1 .*{A}.* r2 from {B}"):
        run(meet(Served(revision="r2")))
    with pytest.raises(HandshakeError, match=rf"the teacher at {B} doesn't fit this run: it takes at most 9 tokens"):
        run(meet(Served(max_length=9)))
    late = Served(Outages((0, 10)))
    run(meet(late, 30))
    assert late.prompts()
    with pytest.raises(HandshakeError, match=rf"the teacher at {B} doesn't fit this run"):
        run(meet(Served(Outages((0, 10)), max_length=9), 30))


def test_addresses_are_several_and_different():
    assert settings().urls == [A]
    assert settings(url=[A, B]).urls == [A, B]
    for url in ([], [A, A], [A, B, A + "/"]):
        with pytest.raises(ValidationError, match="expected at least one address, each different"):
            settings(url=url)
    with pytest.raises(ValidationError, match="patience_s"):
        settings(patience_s=-1)
