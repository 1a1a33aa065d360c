"""Losses and metrics of a model, as Keras computes them and timestep by timestep."""
