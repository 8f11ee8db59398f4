"""Identifies callers, and admits or rejects their calls."""
