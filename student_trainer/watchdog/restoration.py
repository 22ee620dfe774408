"""What becomes of a run whose format collapsed: the best checkpoint is what it leaves, and what it goes on from."""

from safetensors import SafetensorError

from common.errors import UserError
from student_trainer.distributed.consensus import gather_together
from student_trainer.distributed.process_group import ProcessGroup
from student_trainer.persistence.final_student import write_student
from student_trainer.persistence.resumption import find_damage
from student_trainer.persistence.retention import by_format
from student_trainer.persistence.storage import STEP, Storage
from student_trainer.settings import TrainSettings


class Collapsed(UserError):
    """The format of what the student writes collapsed; the message says which completion shows it."""


def restore_best(settings: TrainSettings, storage: Storage, world: ProcessGroup, why: Collapsed) -> UserError:
    """Put the best checkpoint, by what its student wrote, in the newest one's place, its student in the run folder.

    Every worker must call it, once the last checkpoint is written. Returns what to tell the user.
    """
    _, steps = gather_together(world, lambda: _restore(settings, storage) if world.leads else [], lambda own: own)
    files = settings.files
    left = f"{STEP}{steps[0]} and {files.student(settings.student.is_whole)} hold the best before" if steps else ""
    return Collapsed(
        f"{why}. {left or 'no checkpoint from before it is there'}; every completion is in {files.watchdog}. Choose a "
        "new run_folder with a lower optimizer.learning_rate, or look at the teacher: python -m eval qualify"
    )


def _restore(settings: TrainSettings, storage: Storage) -> list[int]:
    """The step that was restored, if there was one to restore."""
    try:
        for step in by_format(storage):
            with storage.opened(step) as folder:
                if find_damage(folder) is None:
                    storage.point_to(step)
                    write_student(settings, folder)
                    return [step]
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the student's format collapsed, and its best checkpoint in {storage} can't be restored: {error}; free "
            "space or mend the storage, and take the student from there"
        ) from None
    return []
