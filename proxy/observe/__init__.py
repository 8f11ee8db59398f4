"""Metrics: what an operator sees of the calls."""
