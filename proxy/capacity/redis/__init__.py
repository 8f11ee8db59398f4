"""The shared state in Redis: the connection, and the counter store over it.

The library `redis` is imported when a client is built, never by importing this package.
"""
