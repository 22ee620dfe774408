"""Whether a served teacher may teach."""
