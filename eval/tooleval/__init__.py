"""ToolEval: answers judged by a model, as pass rate, win rate, SoPR, SoWR and FAC."""
