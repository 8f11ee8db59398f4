"""The ledger: records calls and attempts in a local journal, and writes them from there to the store."""
