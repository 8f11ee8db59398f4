"""Vocabulary and policy: the standard library and msgspec, no I/O."""
