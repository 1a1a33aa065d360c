"""Fast readers and padding: each verifies itself, or leaves the work to the strict code."""
