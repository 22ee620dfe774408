"""The engine: vLLM in the replica's process, with scoring, generation and adapters. Nothing else imports vllm."""
