"""Environments: what answers an agent's actions."""
