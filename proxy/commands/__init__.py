"""Shell commands that work on the store: `signalbox keys`, `users`, `teams`, `budgets` and `usage`."""
