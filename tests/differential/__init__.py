"""Random models, and the truth about their padding in plain Keras with 64-bit numbers."""
