"""Data as the inputs and targets of a model."""
