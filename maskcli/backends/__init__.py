"""The backends of Keras: everything in which TensorFlow, JAX and PyTorch differ, a module each."""
