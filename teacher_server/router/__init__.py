"""One address in front of several teachers: the router and its Serve application."""
