"""The settings as strict types: names, defaults, bounds, descriptions."""
