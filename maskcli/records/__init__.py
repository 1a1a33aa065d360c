"""Frozen records that all rooms share, one file for each subject; they import nothing but each other."""
