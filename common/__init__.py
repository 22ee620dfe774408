"""What teacher, student and evaluation must agree on: no ray, torch or vllm in here."""

VERSION = "0.1.0"
