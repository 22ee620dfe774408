"""Readers of the forms in which people have ToolBench, each a stream of rows."""
