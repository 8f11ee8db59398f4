"""What is known of the current models of seven vendors: a dated list that the configuration file overrides."""
