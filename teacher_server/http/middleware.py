"""The layers around the routes, from the outside in: access log, token, fair share, bounds."""

from collections.abc import Callable

from starlette.applications import Starlette

from teacher_server.http.access_log import Access, AccessLog, write_line
from teacher_server.http.api_keys import DEFAULT_CLIENT, Tokens
from teacher_server.http.auth import BearerAuth
from teacher_server.http.request_limits import Bounds, FairShare
from teacher_server.settings import LimitSettings


def close(
    app: Starlette, limits: LimitSettings, tokens: Tokens | str, observe: Callable[[Access], None] = write_line
) -> None:
    """Put the layers around `app`; they hold for every route, later ones too. A string is the only token.

    `observe` is told of every request when it ends.
    """
    tokens = Tokens({DEFAULT_CLIENT: tokens}) if isinstance(tokens, str) else tokens
    app.add_middleware(Bounds, limits=limits)
    app.add_middleware(FairShare, limits=limits)
    app.add_middleware(BearerAuth, tokens=tokens)
    app.add_middleware(AccessLog, observe=observe)
