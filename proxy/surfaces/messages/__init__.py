"""The surface of Anthropic's Messages API: requests become chat calls, and answers become messages."""
