"""Forms of a check for continuous integration."""
