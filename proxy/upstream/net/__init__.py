"""The upstream transport: HTTP/1.1 over asyncio and httptools, with a pool of connections for each origin."""
