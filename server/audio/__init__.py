"""Sound in, numbers out: decoding, windows, and the frontends that models were trained on.

Pure functions over NumPy arrays, imported in child processes only. Nothing here knows of HTTP, of
models or of settings; the only module of ours that is imported is `server.errors`.

::

    bytes --sniff, container, decode--> Waveform (mono float32, 22,050 Hz)
    Waveform.y --frontends--> feature row (58,) or spectrogram (height, width, 1)

    spectrum  frames and their Fourier transform    median     sliding median of 31
    mel       mel bands and decibels                harmonic   the harmonic part
    chroma    pitch classes and tuning              tempo      beats per minute
    analysis  what several frontends share
"""
