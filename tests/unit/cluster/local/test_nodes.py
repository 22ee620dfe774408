"""What is known of a cluster before any node starts."""

import socket
from pathlib import Path

import pytest

from cluster.local.nodes import Nodes, StartFailed
from cluster.local.settings import ClusterSettings


@pytest.mark.parametrize("setting", ["dashboard_port", "serve_port"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_said_before_ray_starts(setting: str, address: str, tmp_path: Path):
    with socket.create_server((address, 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(StartFailed, match=f"{setting} {port} is taken"):
            Nodes(tmp_path, ClusterSettings.model_validate({setting: port}))
