"""What `ray job submit` prints, and what Serve says of an application, put into words for the user."""

from typing import Any

import httpx
import pytest

from cluster.local.cluster_info import ClusterInfo
from cluster.local.ray_cli import all_running, show_log, wait_until_running
from common.errors import UserError

SUBMITTED = [
    "2026-11-21 02:41:35,633\tINFO cli.py:42 -- Job submission server address: http://127.0.0.1:26313\n",
    "2026-11-21 02:41:35,927\tSUCC cli.py:67 -- Job 'job-1' submitted successfully\n",
    "2026-11-21 02:41:35,928\tINFO cli.py:330 -- Next steps\n",
    "2026-11-21 02:41:38,037\tINFO worker.py:1691 -- Using address 127.219.35.1:29638\n",
    "step 1 loss 2.5\n",
    "  indented\n",
]
FAILED = [
    "2026-11-21 02:47:25,075\tERR cli.py:74 -- -----------------------------\n",
    "2026-11-21 02:47:25,075\tERR cli.py:75 -- Job 'job-1' failed\n",
    "Status message: Job entrypoint command failed with exit code 1, last available logs:\n",
    "step 1 loss 2.5\n",
]
REFUSED = [
    "Traceback (most recent call last):\n",
    "RuntimeError: Request failed with status code 500: No agent\n",
    "\n",
]
TRACEBACK = """The deployment failed to start 3 times in a row. Error:
Traceback (most recent call last):
  File "app.py", line 4, in __init__
ValueError: no such model
"""


class Serving(ClusterInfo):
    """A cluster whose dashboard always answers the same."""

    applications: dict[str, Any]

    def get(self, path: str) -> Any:
        assert path == "/api/serve/applications/"
        return {"applications": self.applications}


def serving(applications: dict[str, Any]) -> Serving:
    values = {
        "supervisor": 1,
        "supervisor_started": 0,
        "nodes": {},
        "hosts": [],
        "folder": "/",
        "address": "",
        "serve_port": 1,
    }
    return Serving.model_validate(values | {"dashboard_url": "http://127.0.0.1:1", "applications": applications})


@pytest.mark.parametrize("ending", [[], FAILED])
def test_only_the_jobs_own_lines_are_shown_each_once(ending: list[str]):
    shown: list[str] = []
    show_log(SUBMITTED + ending, shown.append)
    assert shown == ["step 1 loss 2.5", "  indented"]


def test_a_job_that_ray_does_not_take_is_a_users_error():
    with pytest.raises(UserError, match="submit` failed: RuntimeError: Request failed with status code 500: No agent"):
        show_log(REFUSED, pytest.fail)


def test_all_applications_must_run():
    assert all_running(serving({"a": {"status": "RUNNING"}, "b": {"status": "RUNNING"}}), ["a", "b"])
    assert not all_running(serving({"a": {"status": "RUNNING"}, "b": {"status": "DEPLOYING"}}), ["a", "b"])
    assert not all_running(serving({"a": {"status": "RUNNING"}}), ["a", "b"])


@pytest.mark.parametrize("status", ["DEPLOY_FAILED", "UNHEALTHY"])
def test_a_failed_application_is_explained_by_the_last_line_of_its_traceback(status: str):
    failed = {"status": status, "message": "Deployments failed", "deployments": {"T": {"message": TRACEBACK}}}
    with pytest.raises(UserError) as caught:
        all_running(serving({"a": failed}), ["a"])
    assert str(caught.value) == "the application a failed to deploy: ValueError: no such model"


class Busy(Serving):
    """A cluster whose dashboard answers late, `late` times."""

    late: list[str]

    def get(self, path: str) -> Any:
        if self.late:
            raise httpx.ReadTimeout(self.late.pop())
        return super().get(path)


def test_a_late_dashboard_is_asked_again_until_the_deadline():
    values = serving({"a": {"status": "RUNNING"}}).model_dump() | {"late": ["30 s"]}
    wait_until_running(Busy.model_validate(values), ["a"], timeout_s=30)
    with pytest.raises(UserError, match="a: not up 0 s after `serve deploy`"):
        wait_until_running(Busy.model_validate(values), ["a"], timeout_s=0)
