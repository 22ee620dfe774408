"""The loss: its definition, and the same computed fast."""
