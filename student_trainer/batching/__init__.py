"""From examples to micro-batches: padded, packed, or whole traces as one sequence."""
