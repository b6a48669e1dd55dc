"""A sound of ours, made when it is asked for: what the demonstration shows to who brings none."""

import asyncio
import functools
import io
import math
import struct
import wave
from collections.abc import AsyncIterator


@functools.cache
def chords() -> bytes:
    """Return 5.94 s of plucked chords as a WAV file, 16 bits, mono, 22,050 Hz."""
    rate_hz, samples, step = 22_050, 130_977, 8_820
    y = [0.0] * samples
    for k in range(samples // step):
        root_hz = 110 * 2 ** ((0, 5, 7, 3)[k // 4 % 4] / 12) * (1, 1.25, 1.5, 2)[k % 4]
        for n in range(min(4 * step, samples - k * step)):
            decay = math.exp(-4 * n / rate_hz)
            turn = 2 * math.pi * root_hz * n / rate_hz
            y[k * step + n] += 0.2 * decay * (math.sin(turn) + 0.5 * math.sin(2 * turn))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes(struct.pack(f"<{samples}h", *(int(32_767 * value) for value in y)))
    return file.getvalue()


async def chords_in_pieces() -> AsyncIterator[bytes]:
    """Yield the sound as a body comes; it is made in a thread, which takes half a second."""
    yield await asyncio.to_thread(chords)
