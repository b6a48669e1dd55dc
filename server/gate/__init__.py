"""Judges model files by their structure, before any library that could run them sees them."""
