"""Dashboards that a run's metrics are shown on while it trains; its own file of them is written whatever they do."""
