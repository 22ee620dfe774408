"""The watchdog: what the student writes while it learns, and what becomes of a run whose format collapses."""
