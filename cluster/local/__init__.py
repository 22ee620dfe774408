"""A Ray cluster on this machine: its nodes, its supervisor, and what it is asked to do."""
