"""Upstream-side wire formats: pure, with the standard library and msgspec only."""
