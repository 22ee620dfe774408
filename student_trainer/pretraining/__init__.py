"""Small base models for the demos, trained on plain text."""
