"""What of Ray Serve's private parts we lean on, all of it here, so that another Ray is noticed.

`serve.status()` says neither where an application is served nor takes a timeout; Serve's REST API needs the dashboard.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import ray
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.controller import ServeController
from ray.serve.exceptions import RayServeException

Details = dict[str, Any]
"""What Serve's controller says, as Ray documents it for `GET /api/serve/applications/`."""
ASK_TIMEOUT_S = 5.0
TESTED_VERSION = "2.60.0"
METHODS: dict[tuple[type, str], list[str]] = {(ServeController, "get_serve_instance_details"): ["self", "source"]}
"""Parameters of the methods that are called."""


def moved(version: str = ray.__version__) -> list[str]:
    """What differs from the Ray that this was tested with; empty when nothing does."""
    wrong = [] if version == TESTED_VERSION else [f"version {version}, tested with {TESTED_VERSION}"]
    for (owner, name), expected in METHODS.items():
        method = getattr(owner, name, None)
        got = None if method is None else _parameters(method)
        if got != expected:
            wrong.append(f"{owner.__name__}.{name} takes {got}, expected {expected}")
    return wrong


def _parameters(method: Callable[..., Any]) -> list[str]:
    """Without what Ray itself adds to an actor's methods where it traces them."""
    return [name for name in signature(method).parameters if not name.startswith("_ray_")]


def ask_controller() -> Details:
    """What the controller says; in whatever process of Serve this runs.

    Raises RayServeException when there is none, and RayError when it doesn't answer within ASK_TIMEOUT_S.
    """
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError as error:
        raise RayServeException(str(error)) from None
    details: ray.ObjectRef[Details] = controller.get_serve_instance_details.remote()
    return ray.get(details, timeout=ASK_TIMEOUT_S)
