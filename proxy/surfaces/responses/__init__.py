"""OpenAI's Responses API: a client's request becomes a chat call, and its answer a response."""
