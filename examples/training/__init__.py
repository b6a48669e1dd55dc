"""Parts of `train_genre_model.py`: data, layers, training, and a check with sounds."""
