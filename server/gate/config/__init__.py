"""A model's configuration: what may stand in it, and what it says."""
