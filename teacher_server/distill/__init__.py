"""The distillation API: answers with their distribution, as an Arrow stream."""
