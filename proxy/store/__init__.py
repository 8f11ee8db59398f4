"""The database: accounts, provider keys of users, and the ledger."""
