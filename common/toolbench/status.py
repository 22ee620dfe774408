"""The status codes that ToolBench gives to observations."""

from enum import IntEnum


class Status(IntEnum):
    """ToolBench's status codes of an observation."""

    OK = 0
    NO_SUCH_FUNCTION = 1
    BAD_INPUT = 2
    FINISHED = 3
    GAVE_UP = 4
    TIMEOUT = 5
    NOT_FOUND = 6
    UNSUBSCRIBED = 7
    UNAUTHORISED = 8
    TOO_MANY_REQUESTS = 9
    RATE_LIMITED = 10
    ERROR_IN_MESSAGE = 11
    SENDING_FAILED = 12
