"""Turns a finished record into facts: metrics and the access line."""
