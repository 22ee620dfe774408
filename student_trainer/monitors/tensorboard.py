"""TensorBoard: event files in the run folder, `tensorboard --logdir RUN/tensorboard`."""

from collections.abc import Mapping

from tensorboardX import SummaryWriter

from student_trainer.settings import TrainSettings


class TensorBoard:
    """Writes a scalar for each metric."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def start(settings: TrainSettings, step: int) -> TensorBoard:
    """Go on in the run's folder; what it shows of steps after `step` is dropped by TensorBoard."""
    # Files are named by the second; what a start in the same second showed of earlier steps must stay.
    name = f".after-{step:09}"
    return TensorBoard(SummaryWriter(str(settings.files.tensorboard), purge_step=step + 1, filename_suffix=name))
