"""Who asks: secrets, and what was signed with them (the itsdangerous dialect of the original server)."""
