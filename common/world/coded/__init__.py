"""Worlds whose names give nothing away: what an API is for stands in its description, perhaps in another word."""
