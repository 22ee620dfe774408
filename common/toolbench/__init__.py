"""ToolBench's formats: recorded conversations, query records and answer trees, as rows of one prompt each."""
