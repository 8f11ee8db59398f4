"""The catalogue: facts about the current models of seven vendors, with a date. The configuration overrides them."""
