"""Checks that need more than one setting: validation with messages, references between names, warnings."""
