"""The surface of OpenAI's API: chat completions, and the endpoints that pass through."""
