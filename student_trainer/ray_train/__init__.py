"""The run under Ray Train: launch, progress, signals, and what follows the death of a worker."""
