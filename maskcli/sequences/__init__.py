"""Files to ragged sequences to padded batches, and back: NumPy only."""
