"""A server that hosts audio models by their SHA-256 and answers only signed requests."""
