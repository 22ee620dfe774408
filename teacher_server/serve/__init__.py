"""The teacher as a Ray Serve application: settings to replicas, and the HTTP API around an engine."""
