"""The mock provider: `answer`, `wire` and `values` make its answers, `upstream` is its transport, `server` a port."""
