"""Settling: turns a finished record into metrics and an access line."""
