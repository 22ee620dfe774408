"""What is measured on answers: pure functions, without a teacher."""
