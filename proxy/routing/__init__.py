"""Routing: pure functions that turn a call, its snapshot and a health view into a plan."""
