"""The backends of Keras: everything in which TensorFlow and JAX differ, a module each."""
