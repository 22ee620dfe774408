"""From what the access log sees of a request to the metrics about requests."""

from collections.abc import Callable

from teacher_server.engine.metrics import Recorder
from teacher_server.http.access_log import Access, write_line


def log_and_count(recorder: Recorder) -> Callable[[Access], None]:
    """An observer for the access log that writes its line and counts the request."""

    def observe(access: Access) -> None:
        write_line(access)
        client, route = access.client, access.route
        recorder.record("teacher_requests", 1, client=client, path=route, status=str(access.status))
        if access.code is not None:
            recorder.record("teacher_refused", 1, client=client, reason=access.code)
        if access.bytes:
            recorder.record("teacher_bytes_sent", access.bytes, client=client, path=route)

    return observe
