"""Prices of models: the price book that is compiled from the library `genai-prices` (`tools/prices.py`)."""
