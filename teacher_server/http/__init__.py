"""What every route shares: API keys, limits, JSON bodies, errors, admission and the access log."""
