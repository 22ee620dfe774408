"""What `python -m student_trainer` can do, a module each."""
