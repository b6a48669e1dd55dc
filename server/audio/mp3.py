"""The length of an MP3, which is a row of frames with no header over it.

Most encoders state the number of frames in a Xing or Info tag, which sits in an otherwise silent
first frame. Where there is none, libsndfile guesses the length from the first bit rate and stops
there: a file of changing bit rate would lose its end without a word (1.2.2, measured: 2.4 of 8 s
left). So the frames are counted here and a tag is put in front of such a file; with it libsndfile
leaves out the 529 samples of the decoder's delay. A file of one bit rate gets none, and begins
where it does for librosa and every other user of libsndfile. ::

    [ID3 tag] frame frame frame ...
    frame: header(4) side-information(9, 17 or 32) data
    tag:   header(4) zeros              Xing flags(4) frames(4) zeros

Sources: ISO/IEC 11172-3 and 13818-3 for frames; the Xing tag as LAME writes it.
"""

from dataclasses import dataclass

_KBITS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # MPEG 1, 2 and 2.5

# Hostile bytes must not cost more than a sound: what is no frame is searched through so far only,
# and counting stops at over six hours.
_SEARCH_BYTES = 65_536
_MOST_FRAMES = 1_000_000
_ROOMY_BIT_RATE = 9  # the frame of 128 or 80 kbit/s has room for a tag at any sample rate


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of one MPEG layer III frame.

    Attributes
    ----------
    version : int
        3 for MPEG 1, 2 for MPEG 2, 0 for MPEG 2.5.
    sample_rate_hz : int
        Sample rate in Hz.
    is_mono : bool
        One channel instead of two.
    size : int
        Bytes of the whole frame; 0 in the free format, whose size is not in the header.
    """

    version: int
    sample_rate_hz: int
    is_mono: bool
    size: int

    @property
    def tag_offset(self) -> int:
        """Count the bytes from the frame's start to where a Xing tag would begin."""
        if self.version == 3:
            return 4 + (17 if self.is_mono else 32)
        return 4 + (9 if self.is_mono else 17)


def parse_frame(header: bytes) -> Frame | None:
    """Read the header of a frame.

    Parameters
    ----------
    header : bytes
        Four bytes or more.

    Returns
    -------
    Frame or None
        None unless sync, version, layer, bit rate and sample rate are those of layer III.
    """
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bit_rate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate == 15 or rate == 3:
        return None
    sample_rate_hz = _RATES_HZ[rate] // _RATE_DIVISOR[version]
    kbits = (_KBITS_MPEG1 if version == 3 else _KBITS_MPEG2)[bit_rate]
    size = (144_000 if version == 3 else 72_000) * kbits // sample_rate_hz
    padding = header[2] >> 1 & 1 if size else 0
    return Frame(version, sample_rate_hz, header[3] >> 6 == 3, size + padding)


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a file.

    Attributes
    ----------
    count : int
        How many, the last perhaps cut.
    is_even : bool
        Whether all have one bit rate.
    """

    count: int
    is_even: bool


def with_length(data: bytes) -> bytes:
    """Make sure that the length of an MP3 is known to libsndfile.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bytes
        `data` where it has a tag, or where no frame is found; else the same sound without what
        came before its first frame (whose bytes count in the guess), and with the counted frames
        in a tag unless all have one bit rate.
    """
    at, first = _first_frame(data)
    if first is None or _is_tagged(data, at, first):
        return data
    frames = count_frames(data, at)
    if frames.is_even:
        return data[at:]
    return _tag(data[at : at + 4], frames.count) + data[at:]


def count_frames(data: bytes, at: int) -> Frames:
    """Count the frames from a position to the end, skipping up to 64 KiB of what is no frame.

    Parameters
    ----------
    data : bytes
        The file.
    at : int
        Where to begin.

    Returns
    -------
    Frames
        At most a million.
    """
    count = skipped = 0
    rates = set()
    while at < len(data) and count < _MOST_FRAMES and skipped < _SEARCH_BYTES:
        frame = parse_frame(data[at : at + 4])
        if frame is not None and frame.size:
            count += 1
            rates.add(data[at + 2] >> 4)
            at += frame.size
        else:
            following = data.find(b"\xff", at + 1, at + _SEARCH_BYTES)
            if following < 0:
                break
            skipped += following - at
            at = following
    return Frames(count, len(rates) <= 1)


def _tag(header: bytes, frames: int) -> bytes:
    """Build a silent frame like the one with this header, with a Xing tag in it."""
    roomy = bytes([0xFF, header[1] | 1, header[2] & 0x0C | _ROOMY_BIT_RATE << 4, header[3]])
    like = parse_frame(roomy)
    if like is None:
        return b""
    body = bytearray(like.size)
    body[:4] = roomy
    tag = b"Xing" + (1).to_bytes(4, "big") + min(frames, 0xFFFFFFFF).to_bytes(4, "big")
    body[like.tag_offset : like.tag_offset + len(tag)] = tag
    return bytes(body)


def _is_tagged(data: bytes, at: int, first: Frame) -> bool:
    """Tell whether the frame at a position holds a Xing or Info tag with a frame count."""
    tag = data[at + first.tag_offset : at + first.tag_offset + 12]
    return len(tag) == 12 and tag[:4] in (b"Xing", b"Info") and tag[7] & 1 == 1


def _first_frame(data: bytes) -> tuple[int, Frame | None]:
    """Find the first frame that is followed by another one or by the end."""
    at = _after_id3(data)
    end = min(len(data), at + _SEARCH_BYTES)
    while 0 <= at < end:
        frame = parse_frame(data[at : at + 4])
        if frame is not None and frame.size:
            following = at + frame.size
            if following >= len(data) or parse_frame(data[following : following + 4]):
                return at, frame
        at = data.find(b"\xff", at + 1, end)
    return 0, None


def _after_id3(data: bytes) -> int:
    """Return where the ID3 tags in front end; their size has 7 bits a byte."""
    at = 0
    while data.startswith(b"ID3", at) and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size
    return at
