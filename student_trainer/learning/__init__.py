"""What a step learns from its examples: batches, the student, the loss, the update."""
