"""An independent reference of Keras's layers in NumPy, and comparisons of maskcli with it."""
