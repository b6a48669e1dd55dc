"""Zip archives, read in one way only."""
