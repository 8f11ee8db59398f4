"""Responses that run in the background: calls that go on in this process without a client that waits for them."""
