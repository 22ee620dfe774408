"""What a model is worth, judged through the HTTP API alone."""
