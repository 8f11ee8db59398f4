"""Gemini's generateContent, of AI Studio and Vertex AI."""
