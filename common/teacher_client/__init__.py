"""The one client of a teacher: its calls, its endpoints and their failures, the handshake, the check of its answers."""
