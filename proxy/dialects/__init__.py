"""Wire formats of providers: pure, with the standard library and msgspec only."""
