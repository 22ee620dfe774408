"""The training prompts in one global order, and which of them each step of each worker uses."""
