"""The live run: stream prompts, ask the teacher, update the student."""
