"""Vocabulary and policy: standard library only, no I/O."""
