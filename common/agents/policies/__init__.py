"""Policies: served models of ours, and any endpoint of OpenAI's API."""
