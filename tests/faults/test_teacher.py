"""The teacher dies, hangs or goes away while prompts are on their way: the run waits, asks again, loses nothing."""

from functools import partial

import pytest

from tests.faults.checks import NOISE, check_close, check_prompts, check_same
from tests.faults.conftest import Undisturbed
from tests.faults.faults import FAULTS, IMPATIENT, Fault, endpoint_gone, run_with_faults
from tests.faults.served_teacher import ServedTeacher

pytestmark = pytest.mark.timeout(900)
ON_VLLM = ("replica_killed", "engine_killed")
AROUND_IT = (
    "replicas_stopped",
    "replica_stopped_for_good",
    "teacher_slow",
    "controller_killed",
    "outage",
    "serve_gone",
)


@pytest.mark.parametrize("fault", [ON_VLLM[0], pytest.param(ON_VLLM[1], marks=pytest.mark.faults_all)])
def test_vllm_dies_with_prompts_in_flight(vllm: ServedTeacher, undisturbed: Undisturbed, fault: str):
    before = vllm.replicas()
    run = run_with_faults(vllm, fault, [(3, FAULTS[fault])]).folder
    check_prompts(vllm.data, run)
    check_close(run, undisturbed(vllm, 1), NOISE)
    assert set(vllm.replicas()) != set(before)  # Serve has replaced what died


def test_vllm_outlives_the_controller_of_serve(vllm: ServedTeacher, undisturbed: Undisturbed):
    before = vllm.replicas()
    run = run_with_faults(vllm, "vllm-without-controller", [(3, FAULTS["controller_killed"])]).folder
    check_prompts(vllm.data, run)
    check_close(run, undisturbed(vllm, 1), NOISE)
    assert set(vllm.replicas()) == set(before)


def test_everything_around_the_teacher_and_a_worker_in_one_run(bigram: ServedTeacher, undisturbed: Undisturbed):
    outage = partial(endpoint_gone, seconds=5)
    others = [FAULTS[name] for name in ("controller_killed", "replicas_stopped", "teacher_slow", "worker_killed")]
    faults: list[tuple[int, Fault]] = list(zip((2, 4, 6, 9, 12), [outage, *others], strict=True))
    run = run_with_faults(bigram, "one-after-another", faults, IMPATIENT).folder
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))


@pytest.mark.faults_all
@pytest.mark.parametrize("fault", AROUND_IT)
def test_each_of_them_alone(bigram: ServedTeacher, undisturbed: Undisturbed, fault: str):
    run = run_with_faults(bigram, fault, [(3, FAULTS[fault])], IMPATIENT).folder
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))
