"""The demos: whole stories, from data to a table."""
