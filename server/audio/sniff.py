"""What kind of file some bytes are, by their first bytes alone.

An extension is a claim of the sender: it never chooses the decoder, it only has to agree with the
content.

=======  =============================  ==========================================================
family   extensions                     begins with
=======  =============================  ==========================================================
pcm      wav wave aif aiff              ``RIFF....WAVE`` or ``FORM....AIFF``, ``FORM....AIFC``
au       au snd                         ``.snd``, or ``dns.`` for the little-endian kind
flac     flac                           ``fLaC``
ogg      ogg oga opus                   ``OggS``
mp3      mp3                            ``ID3``, or the header of an MPEG layer III frame
=======  =============================  ==========================================================

WAV and AIFF are one family because published data sets hold AIFF files named ``.wav`` (TESS has
two).
"""

import re

from server.audio.mp3 import parse_frame
from server.errors import BadExtension
from server.sound_errors import LfsPointer, UnreadableSound, WrongExtension

EXTENSIONS = {
    "wav": "pcm",
    "wave": "pcm",
    "aif": "pcm",
    "aiff": "pcm",
    "au": "au",
    "snd": "au",
    "flac": "flac",
    "ogg": "ogg",
    "oga": "ogg",
    "opus": "ogg",
    "mp3": "mp3",
}
_FAMILY = {
    "wav": "pcm",
    "aiff": "pcm",
    "au": "au",
    "flac": "flac",
    "ogg": "ogg",
    "mp3": "mp3",
}
_MAGIC = {b".snd": "au", b"dns.": "au", b"fLaC": "flac", b"OggS": "ogg"}
_FORM = re.compile(r"[a-z0-9]{1,5}")
_LFS = b"version https://git-lfs.github.com/spec/"
_NOT_OURS = {
    b"\x1aE\xdf\xa3": "a WebM or Matroska file",
    b"MThd": "a MIDI file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\x89PNG": "a PNG picture",
    b"\x89HDF": "an HDF5 file",
    b"RF64": "a WAV of the RF64 kind",
    b"RIFX": "a WAV of the RIFX kind",
    b"%PDF": "a PDF",
}
_ADVICE = "send WAV, AIFF, AU, FLAC, Ogg Vorbis, Opus or MP3"


def check_extension(ext: str) -> None:
    """Refuse an extension that names no sound format we read.

    Parameters
    ----------
    ext : str
        Without a dot, lower case.

    Raises
    ------
    BadExtension
        If it is not one of `EXTENSIONS`.
    """
    if not _FORM.fullmatch(ext) or ext not in EXTENSIONS:
        raise BadExtension(
            f"ext must be one of {', '.join(EXTENSIONS)}; it names the format of the sound.",
            allowed=list(EXTENSIONS),
        )


def sniff(head: bytes, *, ext: str | None = None) -> str:
    """Find the format of a sound from its first bytes.

    Parameters
    ----------
    head : bytes
        The file, or at least its first 64 bytes; not empty.
    ext : str, optional
        The extension that the sender named; it must be of the same family.

    Returns
    -------
    str
        One of ``wav``, ``aiff``, ``au``, ``flac``, ``ogg``, ``mp3``.

    Raises
    ------
    BadExtension
        If `ext` is none of `EXTENSIONS`.
    LfsPointer
        If the bytes are a Git LFS pointer.
    UnreadableSound
        If they are nothing we read; says what they look like.
    WrongExtension
        If they are a sound, but not of the family that `ext` names.
    """
    if ext is not None:
        check_extension(ext)
    if head.startswith(_LFS):
        raise LfsPointer(
            "The file is a Git LFS pointer; run `git lfs pull` and send what it points to."
        )
    found = _format_of(head)
    if found is None:
        raise UnreadableSound(f"The bytes look like {_guess(head)}, not like a sound; {_ADVICE}.")
    if ext is not None and EXTENSIONS[ext] != _FAMILY[found]:
        raise WrongExtension(f"ext says {ext}, but the content is {found}.", named=ext, found=found)
    return found


def _format_of(head: bytes) -> str | None:
    """Name the format by its magic bytes."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:3] == b"ID3" or parse_frame(head[:4]):
        return "mp3"
    return _MAGIC.get(head[:4])


def _guess(head: bytes) -> str:
    """Say what bytes that are no sound look like."""
    for magic, what in _NOT_OURS.items():
        if head.startswith(magic):
            return what
    if head[4:8] == b"ftyp":
        return "an MP4 or M4A file"
    if head[:4] in (b"RIFF", b"FORM"):
        return "a container without sound"
    start = head[:512]
    is_text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in start)
    return "text" if is_text and start.isascii() else "no known format"
