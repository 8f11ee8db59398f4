"""Dialect of OpenAI-compatible providers, whose bytes are relayed."""
