"""Tests of `server.audio`; `conftest.py` makes the sounds, `librosa_recipe.py` is the oracle."""
