"""What replaces parts of vLLM, and the check that this vLLM still has them as they were."""
