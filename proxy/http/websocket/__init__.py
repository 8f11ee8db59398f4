"""WebSocket connections to `/v1/responses`: each message of a client is a call, each event of its answer a message."""
