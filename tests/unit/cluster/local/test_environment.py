"""What every child process is given: whichever program reads its variables, no proxy stands before the cluster."""

import urllib.request
from urllib.parse import urlsplit

import pytest
import requests

from cluster.local.environment import no_proxy

DEAD = "http://127.0.0.1:9"
HOST = "127.3.4.1"
ADDRESSES = ("http://127.0.0.1:8265", "http://localhost:8000/teacher", f"http://{HOST}:6379")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch):
    for name in ("no_proxy", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "already", [{}, {"NO_PROXY": "intra.net"}, {"no_proxy": "intra.net, 10.0.0.1"}, {"no_proxy": "*"}]
)
def test_no_client_library_takes_a_proxy_to_the_cluster(
    proxy: str, already: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    for name, value in ({proxy: DEAD} | already).items():
        monkeypatch.setenv(name, value)
    for name, value in no_proxy([HOST]).items():
        monkeypatch.setenv(name, value)
    for url in ADDRESSES:
        assert requests.utils.get_environ_proxies(url) == {}
        assert urllib.request.proxy_bypass(urlsplit(url).netloc)
    outside = requests.utils.get_environ_proxies("http://intra.net" if already else "http://elsewhere.org")
    assert bool(outside) == (not already)
