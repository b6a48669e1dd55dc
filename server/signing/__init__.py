"""Who asks: secrets, and what was signed with them, in the dialect of itsdangerous."""
