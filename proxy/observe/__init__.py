"""Metrics of calls and attempts."""
