"""Rows that can't be rendered while others can: set aside by name, where they would end a run."""

from typing import ClassVar, Literal

from common.errors import UserError


class UnusableRow(UserError):
    """A row that can't be rendered; `kind` says why in a word, the message names it."""

    kind: ClassVar[Literal["does_not_fit", "does_not_render"]]


class DoesNotFit(UnusableRow):
    """A row longer than the longest sequence, since cutting it would lose the API list."""

    kind = "does_not_fit"


class DoesNotRender(UnusableRow):
    """A row whose turns the chat template refuses or rewords."""

    kind = "does_not_render"
