"""What the container of a sound declares, and whether the file holds that much.

libsndfile decodes half a file without a word, so the declared sizes are read here, from the chunks
of WAV and AIFF, the header of AU and the pages of Ogg. FLAC states its length to libsndfile; MP3
has `mp3.py`. ::

    WAV   RIFF size WAVE { id size(le) bytes [pad] }...  "fmt ": format channels rate ...  "data"
    AIFF  FORM size AIFF { id size(be) bytes [pad] }...  "COMM": channels frames bits rate  "SSND"
    AU    .snd offset size encoding rate channels [text] samples   (be; le after the magic dns.)
    Ogg   { OggS version flags granule(8) serial(4) number(4) crc(4) segments table bytes }...

Sources: Microsoft and IBM, "Multimedia Programming Interface", 1991; Apple, "AIFF-C", 1991;
Sun Microsystems, au(4), 1992; RFC 3533.
"""

import math
import struct
from dataclasses import dataclass

from server.sound_errors import TruncatedSound, UnreadableSound

_MOST_CHUNKS = 10_000  # real files have a handful; walking millions would take seconds
_AU_HEADER = 24
_AU_UNKNOWN = 0xFFFFFFFF  # a program that streams to a pipe says so; the samples reach to the end


@dataclass(frozen=True, slots=True)
class Declared:
    """What a header says before anything is decoded; None where the format does not say it here.

    Attributes
    ----------
    sample_rate_hz : float or None
        Sample rate in Hz.
    channels : int or None
        Number of channels.
    """

    sample_rate_hz: float | None = None
    channels: int | None = None


def inspect(data: bytes, found: str) -> Declared:
    """Read the header of a sound and refuse a file that ends before it should.

    Parameters
    ----------
    data : bytes
        The whole file.
    found : str
        Its format, as `server.audio.sniff.sniff` names it.

    Returns
    -------
    Declared
        What the header says.

    Raises
    ------
    TruncatedSound
        If a declared chunk or page reaches beyond the end of the file, or the header is cut.
    UnreadableSound
        If the header contradicts itself.
    """
    if found == "wav":
        return _wav(data)
    if found == "aiff":
        return _aiff(data)
    if found == "au":
        return _au(data)
    if found == "ogg":
        _check_ogg_pages(data)
        return Declared()
    return Declared()


def _chunks(data: bytes, *, order: str, until: bytes) -> dict[bytes, tuple[int, int]]:
    """Return offset and declared size of each chunk up to the one with the samples."""
    found: dict[bytes, tuple[int, int]] = {}
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            raise TruncatedSound("The file ends inside its header, before the first sample.")
        name, size = struct.unpack_from(f"{order}4sI", data, at)
        found.setdefault(name, (at + 8, size))
        if name == until:
            return found
        at += 8 + size + size % 2
    raise UnreadableSound(f"The file holds {_MOST_CHUNKS} chunks before its samples.")


def _check_size(data: bytes, at: int, size: int) -> None:
    """Refuse sample data that the file does not hold."""
    there = len(data) - at
    if there < size:
        streamed = (
            " A program that streams to a pipe cannot fill in the size: write to a file instead."
        )
        raise TruncatedSound(
            f"The header declares {size} bytes of samples, the file holds {there}."
            + (streamed if size >= 0x7FFFF000 else ""),
            declared_bytes=size,
            found_bytes=there,
        )


def _wav(data: bytes) -> Declared:
    chunks = _chunks(data, order="<", until=b"data")
    at, size = chunks.get(b"fmt ", (0, 0))
    if size < 16:
        raise UnreadableSound("The WAV file has no usable fmt chunk before its samples.")
    channels, sample_rate_hz = struct.unpack_from("<HI", data, at + 2)
    _check_size(data, *chunks[b"data"])
    return Declared(sample_rate_hz, channels)


def _aiff(data: bytes) -> Declared:
    chunks = _chunks(data, order=">", until=b"SSND")
    at, size = chunks.get(b"COMM", (0, 0))
    if size < 18:
        raise UnreadableSound("The AIFF file has no usable COMM chunk before its samples.")
    (channels,) = struct.unpack_from(">h", data, at)
    _check_size(data, *chunks[b"SSND"])
    return Declared(_extended(data[at + 8 : at + 18]), channels)


def _extended(number: bytes) -> float:
    """Read an 80-bit float: sign and exponent in 16 bits, then 64 bits with a leading 1."""
    exponent, mantissa = struct.unpack(">HQ", number)
    if exponent >= 0x7FFF or exponent & 0x7FFF > 16383 + 64:
        return math.inf
    return math.ldexp(mantissa, exponent - 16383 - 63)


def _au(data: bytes) -> Declared:
    if len(data) < _AU_HEADER:
        raise TruncatedSound("The file ends inside its header, before the first sample.")
    order = "<" if data.startswith(b"dns.") else ">"
    at, size, _, sample_rate_hz, channels = struct.unpack_from(f"{order}5I", data, 4)
    if at < _AU_HEADER:
        raise UnreadableSound("The AU file says that its samples begin inside its header.")
    if at > len(data):
        raise TruncatedSound("The file ends inside its header, before the first sample.")
    if size != _AU_UNKNOWN:
        _check_size(data, at, size)
    return Declared(sample_rate_hz, channels)


def _check_ogg_pages(data: bytes) -> None:
    """Walk the pages and refuse a file whose last page is cut."""
    at = 0
    while data.startswith(b"OggS", at):
        table = at + 27
        if table > len(data) or table + data[table - 1] > len(data):
            raise TruncatedSound("The file ends inside the header of an Ogg page.")
        body = table + data[table - 1]
        at = body + sum(data[table:body])
        if at > len(data):
            raise TruncatedSound(f"The last Ogg page lacks {at - len(data)} bytes.")
