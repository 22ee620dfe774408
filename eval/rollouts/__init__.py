"""Rollouts: agents run on tasks, and what comes of it."""
