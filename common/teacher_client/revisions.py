"""Which revisions of the teacher's weights are taken: one, or any."""

import logging
from typing import Literal

from common.errors import UserError

log = logging.getLogger(__name__)


class Revisions:
    """The first one it is told of; another stops the run, or is accepted and logged, as `policy` says."""

    def __init__(self, policy: Literal["stop", "accept"], first: str | None = None) -> None:
        self._policy = policy
        self._accepted = [] if first is None else [first]

    @property
    def first(self) -> str | None:
        """The run's own; None before the first answer."""
        return self._accepted[0] if self._accepted else None

    @property
    def newest(self) -> str | None:
        """The last that was taken in."""
        return self._accepted[-1] if self._accepted else None

    def check(self, revision: str, model: str) -> None:
        """Take `revision` of `model` in.

        Raises UserError for one that differs from the first, unless the policy is to accept it.
        """
        if not self._accepted:
            self._accepted.append(revision)
        if revision in self._accepted:
            return
        if self._policy == "stop":
            raise UserError(
                f"got revision {revision} of {model}, the run began with {self.first}; serve that one again, start a "
                "new run, or learn from both with teacher.on_new_revision: accept"
            )
        log.warning("got revision %s of %s, the run began with %s: accepted", revision, model, self.first)
        self._accepted.append(revision)
