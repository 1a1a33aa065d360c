"""Getting a Keras model."""
