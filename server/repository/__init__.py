"""The model repository: what may become a model, what has arrived, and what is stored."""
