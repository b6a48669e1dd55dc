"""Notes of a sound: what surrounds a model that hears them, and what is heard without one.

Pure functions over NumPy arrays, imported in child processes only. Nothing here knows of HTTP, of
engines or of settings; the only module of ours that is imported is `server.errors`.

::

    mono samples, 22,050 Hz
      --windows--> [n, 43844, 1]
      --model, or salience--> note [n, 172, 88], onset [n, 172, 88], contour [n, 172, 264]
      --streaming (stitch, then decoder and bends)--> Note, Note, ...
      --midi_file--> bytes of a .mid
"""
