"""The loss: its definition (`loss.py`), and the same computed fast (`fused.py`)."""
