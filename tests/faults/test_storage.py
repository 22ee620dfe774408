"""The driver dies and files are damaged before the run is submitted again; the disk fills up under a run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cluster.nodes import REPOSITORY
from tests.faults import damage, victims
from tests.faults.checks import check_prompts, check_same
from tests.faults.conftest import Undisturbed
from tests.faults.damage import Damage
from tests.faults.relay import Relay, relaying
from tests.faults.runs import running
from tests.faults.stage import BATCH, CHECKPOINT_EVERY, Stage

pytestmark = pytest.mark.timeout(900)
KILLED_AT = 2 * CHECKPOINT_EVERY + 2
"""A step with two checkpoints behind it."""
FULL_KB, ROOMY_KB = 500, 20_000
"""Room for one checkpoint and not for two; room for everything."""
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=${FULL_KB}k small-disk "$DISK" || exit 99
"$@"; echo $? > "$OUT/code"
cp -r "$DISK/run" "$OUT/full"
mount -o remount,size=${ROOMY_KB}k "$DISK"
"$@"; code=$?
cp -r "$DISK/run" "$OUT/roomy"; exit $code
"""


def resubmitted(stage: Stage, name: str, hurt: Callable[[Path], None], source: str = "live") -> tuple[Path, Relay]:
    """The folder of a run whose driver was killed, which was then `hurt` and submitted again; and its relay."""
    folder, source_of = stage.folder / name, {"teacher__source": source}
    with relaying(stage.url, stage.order) as relay:
        relay.limit = BATCH * KILLED_AT
        with running(stage.cluster, stage.config, folder, teacher__url=relay.url, **source_of) as run:
            run.wait_for_step(KILLED_AT)
            victims.kill(run.driver())
            assert run.wait() != 0
        hurt(folder)
        relay.limit = len(stage.order)
        with running(stage.cluster, stage.config, folder, teacher__url=relay.url, **source_of) as run:
            run.succeed()
    return folder, relay


def hurt_checkpoint(how: Damage, file: str, run: Path) -> None:
    """Damage a file of the newest checkpoint."""
    how(run / "checkpoints" / f"step-{2 * CHECKPOINT_EVERY}" / file)


def test_the_driver_dies_a_checkpoint_is_cut_and_the_record_torn(bigram: Stage, undisturbed: Undisturbed):
    """What was recorded is not asked again, but for the torn answer."""

    def hurt(run: Path) -> None:
        hurt_checkpoint(damage.truncate, "adapter_model.safetensors", run)
        damage.tear(run / "record")

    run, relay = resubmitted(bigram, "driver-killed", hurt, "live+record")
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))
    assert f"resuming after step {CHECKPOINT_EVERY} from" in (run / "log.txt").read_text()
    assert sum(times > 1 for times in relay.asked.values()) == 1


@pytest.mark.faults_all
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(lambda run: None, id="intact"),
        pytest.param(partial(hurt_checkpoint, damage.flip, "optimizer.pt"), id="flipped"),
        pytest.param(partial(hurt_checkpoint, damage.delete, "optimizer.pt"), id="file-deleted"),
        pytest.param(partial(hurt_checkpoint, damage.delete, "manifest.json"), id="manifest-deleted"),
        pytest.param(partial(hurt_checkpoint, shutil.rmtree, ""), id="deleted"),
        pytest.param(partial(hurt_checkpoint, damage.truncate, "manifest.json"), id="manifest-cut"),
    ],
)
def test_the_driver_dies_and_the_newest_checkpoint_is(
    bigram: Stage, undisturbed: Undisturbed, how: Callable[[Path], None], request: pytest.FixtureRequest
):
    run, _ = resubmitted(bigram, f"checkpoint-{request.node.callspec.id}", how)
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(
    bigram: Stage, undisturbed: Undisturbed, tmp_path: Path
):
    """On a Ray of its own, in a mount namespace where the run folder is on a disk of FULL_KB."""
    done = train_on_a_small_disk(bigram, tmp_path)
    if done.returncode == 99:
        pytest.skip("this user may not mount a small disk, not even in a namespace of its own")
    assert done.returncode == 0, done.stdout
    assert int((tmp_path / "code").read_text()) == 2, done.stdout
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "space" in said
    assert f"resuming after step {CHECKPOINT_EVERY} from" in (tmp_path / "roomy/log.txt").read_text()
    check_prompts(bigram.data, tmp_path / "roomy")
    check_same(tmp_path / "roomy", undisturbed(bigram, 1))


def train_on_a_small_disk(stage: Stage, out: Path) -> subprocess.CompletedProcess[str]:
    """A run that is started twice, while its disk is small and after it was enlarged."""
    disk = out / "disk"
    disk.mkdir()
    overrides = ["--run_folder", str(disk / "run"), "--teacher.url", stage.url, "--workers.pool", "null"]
    train = [sys.executable, "-m", "student_trainer", "train", str(stage.config), *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    sizes = {"DISK": str(disk), "OUT": str(out), "FULL_KB": str(FULL_KB), "ROOMY_KB": str(ROOMY_KB)}
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", ON_A_SMALL_DISK, "sh", *train],
        cwd=REPOSITORY,
        env=environment | sizes,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
