"""One cluster with both teachers for all faults of this folder, and undisturbed runs to compare with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.local.cluster_info import ClusterHandle
from cluster.local.local_cluster import local_cluster
from cluster.local.settings import ClusterSettings, PoolSettings
from tests.faults.runs import running, train_here
from tests.faults.stage import Stage, make_files, serve_teachers

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
def cluster() -> Iterator[ClusterHandle]:
    with local_cluster(CLUSTER) as handle:
        yield handle


@pytest.fixture(scope="package")
def teachers(cluster: ClusterHandle, folder: Path) -> None:
    serve_teachers(cluster, folder, "bigram", "vllm")


@pytest.fixture(scope="package")
def bigram(cluster: ClusterHandle, folder: Path, teachers: None) -> Stage:
    return Stage(cluster, folder, "bigram")


@pytest.fixture(scope="package")
def vllm(cluster: ClusterHandle, folder: Path, teachers: None) -> Stage:
    return Stage(cluster, folder, "vllm")


Undisturbed = Callable[[Stage, int], Path]


@pytest.fixture(scope="package")
def undisturbed() -> Undisturbed:
    """Gives the folder of an undisturbed run on a teacher with so many workers; each is made once."""

    made: dict[tuple[str, int], Path] = {}

    def make(stage: Stage, workers: int) -> Path:
        run_folder = made.get((stage.teacher, workers))
        if run_folder is None:
            run_folder = stage.folder / f"undisturbed-{stage.teacher}-{workers}"
            if workers == 1:
                train_here(stage.config, run_folder, teacher__url=stage.url)
            else:
                settings = {"teacher__url": stage.url, "workers__count": workers}
                with running(stage.cluster, stage.config, run_folder, **settings) as run:
                    run.succeed()
            made[stage.teacher, workers] = run_folder
        return run_folder

    return make
