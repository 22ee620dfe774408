"""Signals to a run: SIGTERM, as of `ray job stop`, lets it save first; Ctrl-C, or a second SIGTERM, ends it at once."""

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType

from common.run_folder import RunFolder

INSIST_EVERY_S = 2.0


class Signals:
    """Answers signals in the main thread while the context is open.

    Python code that Ray calls from C may swallow a KeyboardInterrupt, so it is raised again until the context closes.
    """

    def __init__(self, run_folder: Path) -> None:
        self._run_folder = run_folder
        self._closed = threading.Event()
        self._insisting = threading.Thread(target=self._insist, daemon=True, name="signals")

    def __enter__(self) -> "Signals":
        signal.signal(signal.SIGTERM, self._save_and_stop)
        self.answer_ctrl_c()
        return self

    def answer_ctrl_c(self) -> None:
        """Take SIGINT, which Ray Train would answer by asking a controller that doesn't listen while workers start."""
        signal.signal(signal.SIGINT, self._end)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._closed.set()
        if self._insisting.is_alive():
            self._insisting.join()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)

    def _save_and_stop(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, self._end)
        RunFolder(self._run_folder).stop.write_text("SIGTERM")

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._insisting.ident is None:
            self._insisting.start()
        raise KeyboardInterrupt

    def _insist(self) -> None:
        while not self._closed.wait(INSIST_EVERY_S):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
