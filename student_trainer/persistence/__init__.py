"""What outlives a process: the run folder, its ledgers and checkpoints, and which of them a run goes on from."""
