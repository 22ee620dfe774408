"""Workers, the driver and nodes die: the run goes on from its newest checkpoint, to the same student.

The lost node comes last: it stays lost.
"""

import pytest

from tests.faults import victims
from tests.faults.checks import OTHER_WORLD, check_close, check_prompts, check_same
from tests.faults.conftest import Undisturbed
from tests.faults.faults import FAULTS, run_with_faults
from tests.faults.runs import running
from tests.faults.served_teacher import CHECKPOINT_EVERY, ServedTeacher

pytestmark = pytest.mark.timeout(900)
BETWEEN = CHECKPOINT_EVERY + 2
"""A step with one checkpoint behind it, and steps after that which are lost."""


@pytest.mark.faults_all
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_dies_at_a_step(bigram: ServedTeacher, undisturbed: Undisturbed, workers: int):
    fault = [(BETWEEN, FAULTS["worker_killed"])]
    run = run_with_faults(bigram, f"worker-killed-{workers}", fault, {"workers.count": workers}).folder
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, workers))


@pytest.mark.faults_all
def test_a_worker_dies_at_a_step_of_a_replay(bigram: ServedTeacher, undisturbed: Undisturbed):
    """Nothing holds a replay back, so the worker dies somewhere after a checkpoint."""
    live = undisturbed(bigram, 1)
    recorded = {"teacher.source": "record", "teacher.record_folder": live / "record", "teacher.url": "http://no"}
    with running(bigram.cluster, bigram.config, bigram.folder / "replay-killed", recorded) as run:
        run.wait_for_step(CHECKPOINT_EVERY)
        victims.kill(*run.workers())
        run.succeed()
    check_prompts(bigram.data, run.folder)
    check_same(run.folder, live)


def test_a_trainers_node_is_lost_and_the_run_goes_on_with_the_rest(bigram: ServedTeacher, undisturbed: Undisturbed):
    fault = [(BETWEEN, FAULTS["trainer_node_lost"])]
    run = run_with_faults(bigram, "trainer-node-lost", fault, {"workers.count": "[1, 2]"}).folder
    check_prompts(bigram.data, run)
    check_close(run, undisturbed(bigram, 1), OTHER_WORLD)
