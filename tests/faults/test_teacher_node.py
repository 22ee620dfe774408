"""A node of the teacher pool is lost: Serve puts its replicas on the other one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings, PoolSettings
from tests.faults.checks import NOISE, check_close, check_prompts
from tests.faults.conftest import Undisturbed
from tests.faults.faults import FAULTS, run_with_faults
from tests.faults.served_teacher import ServedTeacher, serve_teachers

pytestmark = [pytest.mark.faults_all, pytest.mark.timeout(900)]


@pytest.fixture
def teacher(folder: Path) -> Iterator[ServedTeacher]:
    """The vLLM teacher on a cluster of its own, with two nodes for it."""
    with local_cluster(ClusterSettings(teacher=PoolSettings(nodes=2), start_timeout_s=240)) as cluster:
        serve_teachers(cluster, folder, "vllm")
        yield ServedTeacher(cluster, folder, "vllm")


def test_a_teachers_node_is_lost(teacher: ServedTeacher, undisturbed: Undisturbed):
    run = run_with_faults(teacher, "teacher-node-lost", [(3, FAULTS["teacher_node_lost"])]).folder
    check_prompts(teacher.data, run)
    check_close(run, undisturbed(teacher, 1), NOISE)
    assert teacher.replicas()
