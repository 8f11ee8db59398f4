"""Signalbox: an OpenAI-compatible reverse proxy that routes each call to the best provider and model."""

__version__ = "0.1.0"
