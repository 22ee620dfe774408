"""How it all comes up: pools, the local cluster, the demo."""
