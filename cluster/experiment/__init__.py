"""The experiment: one expert, students that differ in what they learn from, judged on tools that none has seen."""
