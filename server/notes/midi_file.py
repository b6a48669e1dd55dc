"""Notes to the bytes of a Standard MIDI File.

Format 0, 480 ticks a quarter note::

    MThd, length 6, format 0, 1 track, 480
    MTrk, length
      tempo; for each channel: program, bend range of 2 semitones (registered parameter 0)
      note on, note off, pitch bend ...
      end of track

Pitch bends belong to a channel, not to a note. As a rule all notes are on the first channel, and
those that sound together with others go without bends. With a channel for each note, notes that
sound together are spread over 15 channels (the tenth is for drums), each with its own bends.

Source: MIDI Manufacturers Association, "Standard MIDI Files 1.0" (RP-001) and "MIDI 1.0 Detailed
Specification".
"""

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace

from server.notes.streaming import Note

TICKS_PER_QUARTER = 480
ELECTRIC_PIANO = 4
_CHANNELS = [*range(9), *range(10, 16)]
_BEND_CENTRE = 8192
_BEND_PER_THIRD = 4096 / 3
_OFF, _STRAIGHT, _BEND, _ON = range(4)  # order of what happens at one tick
_MAX_DELTA = 0x0FFFFFFF
_MAX_MICROSECONDS = 0xFFFFFF

_Event = tuple[int, int, bytes]


def midi_file(
    notes: Iterable[Note],
    *,
    tempo_bpm: float = 120.0,
    program: int = ELECTRIC_PIANO,
    channel_per_note: bool = False,
) -> bytes:
    """Write notes as a Standard MIDI File.

    Parameters
    ----------
    notes : iterable of Note
        In any order. Of two that overlap on one pitch the first ends where the second begins;
        what is shorter than half a tick is left out.
    tempo_bpm : float
        Quarter notes a minute, 4 to 1000. It changes what a sequencer shows, not when notes sound.
    program : int
        General MIDI program from 0, 0 to 127.
    channel_per_note : bool
        Whether notes that sound together keep their bends, each on a channel of its own.

    Returns
    -------
    bytes
        The file. Times are rounded to a tick: 60 / (480 tempo_bpm) seconds.

    Raises
    ------
    ValueError
        If tempo or program is out of range.
    """
    if not 4 <= tempo_bpm <= 1000 or not 0 <= program <= 127:
        raise ValueError("the tempo must be from 4 to 1000, the program from 0 to 127")
    microseconds = min(_MAX_MICROSECONDS, round(60_000_000 / tempo_bpm))
    ordered = _without_overlap(notes)
    if channel_per_note:
        ordered, channels = _spread(ordered)
    else:
        ordered, channels = _without_shared_bends(ordered), [0] * len(ordered)
    ticks_per_s = TICKS_PER_QUARTER * 1_000_000 / microseconds
    events: list[_Event] = []
    for note, channel in zip(ordered, channels, strict=True):
        events += _events(note, channel, ticks_per_s)
    track = bytearray(b"\x00\xff\x51\x03" + microseconds.to_bytes(3))
    for channel in sorted({0, *channels}):
        track += _channel_head(channel, program)
    track += _track(sorted(events, key=lambda event: event[:2])) + b"\x00\xff\x2f\x00"
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_QUARTER)
    return head + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _without_overlap(notes: Iterable[Note]) -> list[Note]:
    """Sort notes and end each where the next of its pitch begins."""
    ordered = sorted(notes, key=lambda note: (note.start_s, note.pitch, note.end_s))
    following: dict[int, float] = {}
    kept = []
    for note in reversed(ordered):
        end_s = min(note.end_s, following.get(note.pitch, note.end_s))
        if end_s > note.start_s:
            kept.append(note if end_s == note.end_s else _shortened(note, end_s))
            following[note.pitch] = note.start_s
    return kept[::-1]


def _shortened(note: Note, end_s: float) -> Note:
    share = (end_s - note.start_s) / (note.end_s - note.start_s)
    return replace(note, end_s=end_s, bends=note.bends[: max(1, round(share * len(note.bends)))])


def _without_shared_bends(notes: Sequence[Note]) -> list[Note]:
    """Take the bends from notes that sound together with another one."""
    shared = [False] * len(notes)
    longest = -1  # of the notes so far, the one that ends last
    for k, note in enumerate(notes):
        if longest >= 0 and note.start_s < notes[longest].end_s:
            shared[k] = shared[longest] = True
        if longest < 0 or note.end_s > notes[longest].end_s:
            longest = k
    return [
        replace(note, bends=()) if is_shared else note
        for note, is_shared in zip(notes, shared, strict=True)
    ]


def _spread(notes: Sequence[Note]) -> tuple[list[Note], list[int]]:
    """Give each note the channel that is free first; where none is free it has no bends."""
    free_at = dict.fromkeys(_CHANNELS, 0.0)
    spread, chosen = [], []
    for note in notes:
        channel = min(_CHANNELS, key=free_at.__getitem__)
        spread.append(note if free_at[channel] <= note.start_s else replace(note, bends=()))
        free_at[channel] = max(free_at[channel], note.end_s)
        chosen.append(channel)
    return spread, chosen


def _events(note: Note, channel: int, ticks_per_s: float) -> list[_Event]:
    start = round(note.start_s * ticks_per_s)
    stop = round(note.end_s * ticks_per_s)
    if stop == start:
        return []
    velocity = min(127, max(1, round(127 * note.amplitude)))
    events = [
        (start, _ON, bytes((0x90 | channel, note.pitch, velocity))),
        (stop, _OFF, bytes((0x80 | channel, note.pitch, 0))),
    ]
    if not any(note.bends):
        return events
    bent = 0
    for k, thirds in enumerate(note.bends):
        if thirds != bent:
            at = start + (stop - start) * k // len(note.bends)
            events.append((at, _BEND, _bend(channel, thirds)))
            bent = thirds
    if bent:
        events.append((stop, _STRAIGHT, _bend(channel, 0)))
    return events


def _bend(channel: int, thirds: int) -> bytes:
    value = min(2 * _BEND_CENTRE - 1, max(0, _BEND_CENTRE + round(thirds * _BEND_PER_THIRD)))
    return bytes((0xE0 | channel, value & 0x7F, value >> 7))


def _channel_head(channel: int, program: int) -> bytes:
    """Set the program and a bend range of two semitones, no cents."""
    controls = ((101, 0), (100, 0), (6, 2), (38, 0))
    settings = [bytes((0, 0xB0 | channel, *pair)) for pair in controls]
    return bytes((0, 0xC0 | channel, program)) + b"".join(settings)


def _track(events: Sequence[_Event]) -> bytes:
    times = [0, *(at for at, _, _ in events)]
    return b"".join(
        _variable_length(min(_MAX_DELTA, after - before)) + message
        for (before, after), (_, _, message) in zip(itertools.pairwise(times), events, strict=True)
    )


def _variable_length(value: int) -> bytes:
    """Write seven bits a byte, the highest first, all but the last with their top bit set."""
    octets = [value & 0x7F]
    while value := value >> 7:
        octets.append(0x80 | value & 0x7F)
    return bytes(reversed(octets))
