"""A reader of Standard MIDI Files for the tests: format 0, what a synthesizer would do with it."""

import struct
from dataclasses import dataclass, field


@dataclass(slots=True)
class Heard:
    """A note as the file has it; `bends` are (tick, value around 0) while it sounds."""

    start: int
    pitch: int
    velocity: int
    channel: int
    stop: int = -1
    bends: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Score:
    """All of a file."""

    division: int
    microseconds: int
    programs: dict[int, int]
    bend_ranges: dict[int, int]
    notes: list[Heard]
    last_bends: dict[int, int]

    @property
    def tick_s(self) -> float:
        return self.microseconds / 1e6 / self.division


def read(data: bytes) -> Score:
    """Parse a file; whatever is not as the standard says is an assertion."""
    kind, length, fmt, tracks, division = struct.unpack(">4sIHHH", data[:14])
    assert (kind, length, fmt, tracks) == (b"MThd", 6, 0, 1)
    kind, length = struct.unpack(">4sI", data[14:22])
    track = data[22:]
    assert kind == b"MTrk"
    assert length == len(track)
    score = Score(division, 500_000, {}, {}, [], {})
    sounding: dict[tuple[int, int], Heard] = {}
    parameter: dict[tuple[int, int], int] = {}
    at, k, ended = 0, 0, False
    while k < len(track):
        assert not ended
        delta, k = _variable_length(track, k)
        at += delta
        status, channel = track[k] & 0xF0, track[k] & 0x0F
        if track[k] == 0xFF:
            meta, (size, k) = track[k + 1], _variable_length(track, k + 2)
            body, k = track[k : k + size], k + size
            if meta == 0x51:
                score.microseconds = int.from_bytes(body)
            ended = meta == 0x2F
            continue
        size = 1 if status == 0xC0 else 2
        values, k = track[k + 1 : k + 1 + size], k + 1 + size
        assert all(value < 128 for value in values)
        if status == 0x90:
            assert values[1] > 0
            assert (channel, values[0]) not in sounding
            heard = Heard(at, values[0], values[1], channel)
            if score.last_bends.get(channel):
                heard.bends.append((at, score.last_bends[channel]))
            score.notes.append(heard)
            sounding[channel, values[0]] = heard
        elif status == 0x80:
            sounding.pop((channel, values[0])).stop = at
        elif status == 0xE0:
            value = values[0] + 128 * values[1] - 8192
            score.last_bends[channel] = value
            for (where, _), heard in sounding.items():
                if where == channel:
                    heard.bends.append((at, value))
        elif status == 0xC0:
            score.programs[channel] = values[0]
        else:
            assert status == 0xB0
            parameter[channel, values[0]] = values[1]
            if values[0] == 6:
                assert parameter[channel, 101] == parameter[channel, 100] == 0
                score.bend_ranges[channel] = values[1]
    assert ended
    assert not sounding
    return score


def _variable_length(data: bytes, k: int) -> tuple[int, int]:
    value = 0
    for _ in range(4):
        value = value << 7 | data[k] & 0x7F
        k += 1
        if data[k - 1] < 128:
            return value, k
    raise AssertionError("more than four bytes")
