"""Upstream-side wire formats: pure, standard library only."""
