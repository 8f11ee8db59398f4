"""The database: accounts, provider keys of users, and the ledger, in SQLite or PostgreSQL."""
