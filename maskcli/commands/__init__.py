"""One file a command: read options, call, render."""
