"""Conclusions from measurements: remarks and verdicts."""
