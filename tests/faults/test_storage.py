"""The driver dies and files are damaged before the run is submitted again; the disk fills up under a run."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cluster.local.environment import REPOSITORY
from tests.faults import damage
from tests.faults.checks import check_prompts, check_same
from tests.faults.conftest import Undisturbed
from tests.faults.damage import Damage
from tests.faults.resubmission import damage_checkpoint, resubmitted
from tests.faults.runs import train_here
from tests.faults.served_teacher import CHECKPOINT_EVERY, ServedTeacher

pytestmark = pytest.mark.timeout(900)
KILLED_AT = 2 * CHECKPOINT_EVERY + 2
"""A step with two checkpoints behind it."""
FULL_KB = 500
"""Room for one checkpoint and not for two."""
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=${FULL_KB}k small-disk "$DISK" || exit 99
"$@"; code=$?
cp -r "$DISK/run" "$OUT"; exit $code
"""


def test_the_driver_dies_a_checkpoint_is_cut_and_the_record_torn(bigram: ServedTeacher, undisturbed: Undisturbed):
    """What was recorded is not asked again, but for the torn answer."""

    def harm(run: Path) -> None:
        damage_checkpoint(damage.truncate, "adapter_model.safetensors", KILLED_AT, run)
        damage.tear(run / "record")

    outcome = resubmitted(bigram, "driver-killed", [(KILLED_AT, harm)], {"teacher.source": "live+record"})
    check_prompts(bigram.data, outcome.folder)
    check_same(outcome.folder, undisturbed(bigram, 1))
    assert f"resuming after step {CHECKPOINT_EVERY} from" in (outcome.folder / "log.txt").read_text()
    assert sum(times > 1 for times in outcome.relay.asked.values()) == 1


@pytest.mark.faults_all
@pytest.mark.parametrize(
    ("how", "file"),
    [
        pytest.param(lambda _: None, "", id="intact"),
        pytest.param(damage.flip, "optimizer.pt", id="flipped"),
        pytest.param(damage.delete, "optimizer.pt", id="file-deleted"),
        pytest.param(damage.delete, "manifest.json", id="manifest-deleted"),
        pytest.param(shutil.rmtree, "", id="deleted"),
        pytest.param(damage.truncate, "manifest.json", id="manifest-cut"),
    ],
)
def test_the_driver_dies_and_the_newest_checkpoint_is(
    bigram: ServedTeacher, undisturbed: Undisturbed, how: Damage, file: str, request: pytest.FixtureRequest
):
    case, harm = request.node.callspec.id, partial(damage_checkpoint, how, file, KILLED_AT)
    run = resubmitted(bigram, f"checkpoint-{case}", [(KILLED_AT, harm)]).folder
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))
    intact = CHECKPOINT_EVERY * (2 if case == "intact" else 1)
    assert f"resuming after step {intact} from" in (run / "log.txt").read_text()


def test_a_full_disk_is_said_and_the_run_goes_on_where_there_is_room(
    bigram: ServedTeacher, undisturbed: Undisturbed, tmp_path: Path
):
    """On a Ray of its own, in a mount namespace where the run folder is on a disk of FULL_KB."""
    run, done = tmp_path / "run", train_on_a_small_disk(bigram, tmp_path)
    if done.returncode == 99:
        pytest.skip("this user may not mount a small disk, not even in a namespace of its own")
    assert done.returncode == 2, done.stdout
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "space" in said
    train_here(bigram.config, run, {"teacher.url": bigram.url})
    assert f"resuming after step {CHECKPOINT_EVERY} from" in (run / "log.txt").read_text()
    check_prompts(bigram.data, run)
    check_same(run, undisturbed(bigram, 1))


def train_on_a_small_disk(teacher: ServedTeacher, out: Path) -> subprocess.CompletedProcess[str]:
    """A run whose disk fills up; what stands on that disk then is copied to `out`."""
    disk = out / "disk"
    disk.mkdir()
    overrides = ["--run_folder", str(disk / "run"), "--teacher.url", teacher.url, "--workers.pool", "null"]
    train = [sys.executable, "-m", "student_trainer", "train", str(teacher.config), *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", ON_A_SMALL_DISK, "sh", *train],
        cwd=REPOSITORY,
        env=environment | {"DISK": str(disk), "OUT": str(out), "FULL_KB": str(FULL_KB)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
