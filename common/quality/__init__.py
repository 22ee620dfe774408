"""What a teacher and a written completion are worth: pure checks, which trainer and evaluation share."""
