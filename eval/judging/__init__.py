"""Judging served models on recorded and on written completions."""
