"""Sessions with MCP servers, whatever these do. `session.py`, `stdio.py` and `http.py` need the package `mcp`."""
