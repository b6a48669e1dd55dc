"""Options and fixtures that every test may use."""
