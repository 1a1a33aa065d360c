"""Records to parts: one file a command. What is shown is chosen here, how it looks is not."""
