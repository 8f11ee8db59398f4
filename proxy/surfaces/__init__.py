"""Formats that clients may speak to us: pure, standard library only."""
