"""The easiest worlds, whose names of APIs hold the words of queries."""
