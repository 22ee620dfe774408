"""The demos: everything in one command, from data to a table."""
