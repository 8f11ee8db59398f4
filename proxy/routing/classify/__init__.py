"""The prompt classifier: estimates the task of a prompt and the tier that it needs."""
