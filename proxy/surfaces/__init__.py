"""Client-side formats: pure, with the standard library and msgspec only."""
