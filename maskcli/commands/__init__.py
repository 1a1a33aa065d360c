"""One file per command: read options, call the api, render."""
