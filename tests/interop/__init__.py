"""Real clients, each a child process in a pinned environment of its own, of a student that the real service serves."""
