"""What the workers of a run share: the process group, and their agreement before each step."""
