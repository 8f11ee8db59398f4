"""Dialect of Anthropic's Messages API."""
