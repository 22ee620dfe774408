"""What tests on a real cluster share."""

from collections.abc import Iterator

import pytest

DEAD_PROXY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def behind_a_dead_proxy() -> Iterator[None]:
    """The module's processes are told to take a proxy, at which nobody answers, to wherever they aren't told not to."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.setenv(name, DEAD_PROXY)
            patch.setenv(name.upper(), DEAD_PROXY)
        for name in ("no_proxy", "NO_PROXY"):
            patch.delenv(name, raising=False)
        yield
