"""One cluster with both teachers for all faults of this folder, and undisturbed runs to compare with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.local.cluster_info import ClusterInfo
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings, PoolSettings
from tests.faults.runs import running, train_here
from tests.faults.served_teacher import ServedTeacher, make_files, serve_teachers

ROWS = 60
CLUSTER = ClusterSettings(
    student=PoolSettings(nodes=2, cpus=1),  # so that two workers are on two nodes
    start_timeout_s=240,
)


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    make_files(folder, ROWS)
    return folder


@pytest.fixture(scope="package")
def cluster() -> Iterator[ClusterInfo]:
    with local_cluster(CLUSTER) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def teachers(cluster: ClusterInfo, folder: Path) -> None:
    serve_teachers(cluster, folder, "bigram", "vllm")


@pytest.fixture(scope="package")
def bigram(cluster: ClusterInfo, folder: Path, teachers: None) -> ServedTeacher:
    return ServedTeacher(cluster, folder, "bigram")


@pytest.fixture(scope="package")
def vllm(cluster: ClusterInfo, folder: Path, teachers: None) -> ServedTeacher:
    return ServedTeacher(cluster, folder, "vllm")


Undisturbed = Callable[[ServedTeacher, int], Path]


@pytest.fixture(scope="package")
def undisturbed() -> Undisturbed:
    """Gives the folder of an undisturbed run on a teacher with so many workers; each is made once."""

    made: dict[tuple[str, int], Path] = {}

    def make(teacher: ServedTeacher, workers: int) -> Path:
        run_folder = made.get((teacher.name, workers))
        if run_folder is None:
            run_folder = teacher.folder / f"undisturbed-{teacher.name}-{workers}"
            if workers == 1:
                train_here(teacher.config, run_folder, {"teacher.url": teacher.url})
            else:
                settings = {"teacher.url": teacher.url, "workers.count": workers}
                with running(teacher.cluster, teacher.config, run_folder, settings) as run:
                    run.succeed()
            made[teacher.name, workers] = run_folder
        return run_folder

    return make
