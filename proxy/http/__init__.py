"""The ASGI surface: requests in, replies out."""
