"""A headless Chromium that a test opens a local page in, driven by its own protocol (Chrome DevTools) over a socket."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S, ANSWER_S = 60, 60


class Page:
    """The page that the browser shows."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._number = connection, 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events are passed over."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(ANSWER_S))).get("id") != self._number:
            pass
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, which the page's own policy doesn't bind."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def open(self, file: Path, width: int = 1200, height: int = 800) -> None:
        """Show `file` in a window of that size, and wait until it has loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=file.resolve().as_uri())
        deadline = time.monotonic() + ANSWER_S
        while self.evaluate("document.readyState + location.href") != f"complete{file.resolve().as_uri()}":
            assert time.monotonic() < deadline, f"{file} doesn't load"
            time.sleep(0.02)  # it is loading

    def prefer(self, scheme: str = "light", media: str = "screen") -> None:
        """Look at the page as someone who prefers the colour `scheme`, or in print."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)


@contextmanager
def browser() -> Iterator[Page]:
    """A browser's page; the test is skipped by name where there is no browser."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser is installed ({', '.join(NAMES)}); on Debian: apt-get install chromium")
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        command = [program, *sandbox, *options, "--no-first-run", "--disable-dev-shm-usage", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_page_address(Path(profile) / "DevToolsActivePort", process), max_size=None) as connection:
                page = Page(connection)
                page.call("Page.enable")
                yield page
                page.call("Browser.close")
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def _page_address(file: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the browser listens for its only page's commands."""
    deadline = time.monotonic() + START_S
    while not (file.exists() and file.read_text().strip()):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser doesn't start"
        time.sleep(0.05)  # it is starting
    port = file.read_text().split()[0]
    while True:
        pages = [each for each in httpx.get(f"http://127.0.0.1:{port}/json").json() if each["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        assert time.monotonic() < deadline, "the browser shows no page"
        time.sleep(0.05)
