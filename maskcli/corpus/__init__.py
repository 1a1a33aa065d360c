"""Corpora of any size."""
