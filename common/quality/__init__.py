"""What a model's answers are worth: judgements that trainer and evaluation share, without a model of their own."""
