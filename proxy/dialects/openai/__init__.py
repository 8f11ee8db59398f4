"""OpenAI's own format: bytes through."""
