"""The record of the teacher's answers: written as they come, compacted, replayed."""
