"""What is wrong with somebody's data, before anything is trained or judged on it."""
