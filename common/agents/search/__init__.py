"""Searches: ways to spend turns of a policy on one task of an environment, each pure over the two."""
