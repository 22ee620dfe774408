"""The teacher as a run sees it: one of several endpoints that fail, come back, and may be replaced."""
