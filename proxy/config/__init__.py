"""The YAML file: read, validated, compiled to a snapshot, watched. Nothing else in the project knows its shape."""
