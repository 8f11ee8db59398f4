"""Upstream transport: HTTP/1.1 over asyncio and httptools, with a connection pool for each origin."""
