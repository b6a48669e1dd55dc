"""Sound from mel spectrograms: what surrounds a model that turns one into another.

Pure functions over NumPy arrays, imported in child processes only. Nothing here knows of HTTP, of
engines or of settings. It stands one floor above `server.audio`, because its frames and its mel
bank are those that the frontends' tests hold against librosa.

::

    mono samples, 22,050 Hz
      --tiles--> 130,977 samples
      --mel_tile--> [256 bands, 256 frames] power
      --model--> [256, 256]
      --inverse--> STFT magnitude [256 frames, 1025 bins]
      --griffin_lim (random phase, or the input's)--> 130,977 samples
      --tiles (cross-fade)--> samples
                                     picture: mel power --> PNG
"""
