"""What an engine is, whatever runs it: its protocol, its health, its metrics and the files of a model."""
