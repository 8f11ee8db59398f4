"""Learning from the judged answers of `auto`: labels, a model of success for each deployment, and the checks of it."""
