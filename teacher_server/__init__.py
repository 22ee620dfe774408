"""Any model as a service: vLLM behind Ray Serve, answering with its distribution over HTTP."""
