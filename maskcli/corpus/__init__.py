"""Files of any number and size: cut into blocks, which engines map and merge."""
