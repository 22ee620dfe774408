"""What a client needs to know about a running cluster; also the file by which `up`, `down` and `status` remember it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from cluster.local.environment import no_proxy
from common.errors import UserError
from common.files import write_atomically
from common.settings import Settings, validate


class ClusterInfo(Settings):
    """A running cluster, as its supervisor describes it."""

    supervisor: int
    """Process id of the supervisor: its SIGTERM ends the cluster."""
    supervisor_started: float
    """When the supervisor started, in seconds since the epoch: tells it from a later process with the same id."""
    nodes: dict[str, int]
    """Process id of `ray start` by node: head, teacher, teacher-2, …, student, student-2, …"""
    hosts: list[str]
    """Addresses of the nodes."""
    folder: Path
    """Private folder with the token and Ray's logs and sockets."""
    address: str
    """Where drivers connect: host:port of the head."""
    dashboard_url: str
    """Dashboard and jobs API."""
    serve_port: int
    """Port of the teacher's HTTP API on 127.0.0.1 once something is deployed."""

    @property
    def serve_url(self) -> str:
        return f"http://127.0.0.1:{self.serve_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which `ray` and `serve` commands, and `ray.init()`, find the cluster and are let in.

        NO_PROXY is this process's, with the cluster's addresses.
        """
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard_url,
            "RAY_DASHBOARD_ADDRESS": self.dashboard_url,
            **authentication(self.folder),
            **no_proxy(self.hosts),
        }

    def get(self, path: str) -> Any:
        """JSON answer of the dashboard to GET `path`. Raises httpx.HTTPError."""
        return self._request("GET", path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """JSON answer of the dashboard to POST `path`. Raises httpx.HTTPError."""
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        token = token_file(self.folder).read_text()
        headers = {"Authorization": f"Bearer {token}"}
        # trust_env: a proxy for the outside must not see what is said on loopback
        with httpx.Client(base_url=self.dashboard_url, headers=headers, timeout=30, trust_env=False) as client:
            return client.request(method, path, json=body).raise_for_status().json()


def token_file(folder: Path) -> Path:
    """Where a cluster in `folder` keeps its token."""
    return folder / "token"


def authentication(folder: Path) -> dict[str, str]:
    """Variables that every process of the cluster and every client needs."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file(folder))}


def read_info(path: Path) -> ClusterInfo:
    """The cluster that `up` wrote down at `path`; UserError when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no cluster is written down in {path}; start one with `python -m cluster up`") from None
    except json.JSONDecodeError:
        raise UserError(f"{path} is not valid JSON; delete it and start again with `python -m cluster up`") from None
    return validate(ClusterInfo, values, str(path))


def write_info(info: ClusterInfo, path: Path) -> None:
    """Remember `info` at `path`, all of it or nothing."""
    write_atomically(path, info.model_dump_json(indent=2) + "\n")
