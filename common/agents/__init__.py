"""Agents: what they do and see, the episode loop, environments, policies, and searches over them."""
