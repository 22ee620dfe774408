"""What can become of a session with an MCP server."""


class SessionEnded(Exception):
    """The session couldn't be opened, or its server is gone or hangs; the message says how."""
