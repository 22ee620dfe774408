"""The layers around the routes, from the outside in: access log, authentication, fair share, request limits."""

from collections.abc import Callable

from starlette.applications import Starlette

from teacher_server.http.access_log import Access, AccessLog
from teacher_server.http.api_keys import ApiKeys
from teacher_server.http.auth import BearerAuth
from teacher_server.http.fair_share import FairShare
from teacher_server.http.request_limits import RequestLimits
from teacher_server.settings import LimitSettings


def add(app: Starlette, limits: LimitSettings, api_keys: ApiKeys, observe: Callable[[Access], None]) -> None:
    """Put the layers around `app`; they hold for every route, later ones too.

    `observe` is told of every request when it ends.
    """
    app.add_middleware(RequestLimits, limits=limits)
    app.add_middleware(FairShare, limits=limits)
    app.add_middleware(BearerAuth, api_keys=api_keys)
    app.add_middleware(AccessLog, observe=observe)
