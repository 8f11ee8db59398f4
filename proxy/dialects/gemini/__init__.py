"""Dialect of Gemini's `generateContent`, for AI Studio and Vertex AI."""
