"""What can come of asking a teacher, each with a name of its own."""

from typing import Literal

from common.errors import UserError

FailureKind = Literal["refused", "bad_answer", "failed"]
"""Why a prompt has no answer: the teacher's own word, answers that could not be used, or none while others got one."""


class TeacherUnavailable(UserError):
    """The teacher couldn't be reached, or kept failing, for as long as the caller has patience."""


class TeacherRefused(UserError):
    """The teacher answered that the request itself is wrong (a 4xx): trying again would change nothing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)  # what pickle makes it anew from, on its way out of a Ray worker
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"the teacher refused the request ({self.status}): {self.message}"


class NotATeacher(UserError):
    """What answers in the teacher's place has no card: a proxy's page, perhaps, while the teacher behind it is gone."""


class PromptFailed(Exception):
    """One request can't be answered, by a teacher that answers others."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class CallFailed(Exception):
    """A call that a healthy teacher would have answered; trying again may help."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """How long the teacher asked to be left alone."""


class Unreachable(CallFailed):
    """The request reached no teacher."""


class Overloaded(CallFailed):
    """A teacher that is well has too much to do: 429, or 503 with Retry-After."""


class EngineDown(CallFailed):
    """A teacher said that it has no engine: 503 with Retry-After and a code for it."""


class BadAnswer(CallFailed):
    """An answer that can't be read, or that contradicts its request or itself."""
