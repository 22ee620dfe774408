"""From examples to micro-batches of tensors: padded side by side or packed end to end, shared prefixes read once."""
