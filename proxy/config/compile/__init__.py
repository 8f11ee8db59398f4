"""From settings to the snapshot used for routing."""
