"""A small world of tools, made from a seed, in ToolBench's own formats: what tests and the demo learn from."""
