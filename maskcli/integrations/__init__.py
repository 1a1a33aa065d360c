"""Where people work: pytest, training with Keras, and notebooks."""
