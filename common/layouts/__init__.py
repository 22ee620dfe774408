"""Layouts: how turns become text. ToolBench's own single-round layout, and a tokenizer's chat template, with its own
form of tools or without."""
