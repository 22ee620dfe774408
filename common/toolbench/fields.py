"""Reading fields of records that others wrote: each mistake names the field, what it holds and what it should."""

from typing import Any, TypeVar

from common.errors import UserError
from common.toolbench.rows import Role, check_role

T = TypeVar("T")

KINDS = {str: "a string", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}


class BadRecord(UserError):
    """A record that can't be converted. `reason` is the short name under which such records are counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # what pickle makes it anew from
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


def take(record: object, key: str, kind: type[T], inside: str = "") -> T:
    """The field `key` of `record`, which must be a `kind`; `inside` says where the record stands, as "turns[2]".

    Raises BadRecord ("missing_field", "wrong_type", "bad_text").
    """
    if not isinstance(record, dict):
        raise BadRecord("wrong_type", f"{inside or 'the record'} is {_kind_of(record)}, expected an object")
    field = f"{inside}.{key}" if inside else key
    if key not in record:
        raise BadRecord("missing_field", f"the field {field!r} is missing")
    value = record[key]
    if not isinstance(value, kind):
        raise BadRecord("wrong_type", f"the field {field!r} holds {_kind_of(value)}, expected {KINDS[kind]}")
    if isinstance(value, str) and not _is_unicode(value):
        raise BadRecord("bad_text", f"the field {field!r} holds half a character or bytes that aren't UTF-8")
    return value


def items(record: object, key: str, inside: str = "") -> list[tuple[str, Any]]:
    """The entries of the list `key`, each with where it stands, as ("turns[2]", …)."""
    place = f"{inside}.{key}" if inside else key
    return [(f"{place}[{index}]", entry) for index, entry in enumerate(take(record, key, list, inside))]


def take_role(record: object, key: str, inside: str) -> Role:
    """The role that the field `key` names; `tool`, OpenAI's word of today, is `function`.

    Raises BadRecord as `take`, and "unknown_role".
    """
    role = take(record, key, str, inside)
    try:
        return check_role("function" if role == "tool" else role)
    except UserError as error:
        raise BadRecord("unknown_role", f"the field '{inside}.{key}': {error}") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind_of(value: object) -> str:
    return next((words for kind, words in KINDS.items() if isinstance(value, kind)), repr(value))
