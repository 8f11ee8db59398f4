"""The configuration file: reading, validation, compilation, reload. Only this package knows its format."""
