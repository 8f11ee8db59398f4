"""Stored dialogs: what a call reads from them before it is routed, and what it adds to them in the end."""
