"""Load and build Keras models."""
