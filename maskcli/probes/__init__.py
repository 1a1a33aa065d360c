"""Find out by further runs whether padding changes results."""
