"""Sentences and verdicts that follow from measurements."""
