"""Read the outline of a zip archive within a budget, as one reader only could read it.

A ``.keras`` file is three members, one after the other, then their list, then the end::

    local header, name, data   local header, name, data   ...   central directory   end
    ^ offset 0                 ^ where the last one ended       ^ no gap            ^ file's end

Nothing overlaps, nothing lies between, before or after. What Python's own reader makes of odd
archives (names twice, bytes in front, a list that disagrees with the headers) never matters then.
Python takes an end of 64 bits wherever one stands, so one is read here, too, and must agree.
"""

import stat
import struct
import zlib
from dataclasses import dataclass, replace
from typing import BinaryIO

from server.errors import BadModel
from server.gate.refusals import refused

MAX_MEMBERS = 16
MAX_RATIO = 20
STORED, DEFLATED = 0, 8
_SMALL = 1 << 20  # below it a ratio says nothing
_SLACK = 16 << 20
_NAME = 256
_LISTING = 64 << 10
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_MANY, _FAR = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x2041  # traditional, strong, masked headers
_STREAMED = 0x8
_KNOWN_FLAGS = 0x806 | _STREAMED
_DESCRIPTORS = (12, 16, 20, 24)
_WIDE = 1  # the extra field with what needs 64 bits
_TIMES = (0x000A, 0x5455, 0x5855, 0x7855, 0x7875)  # and those with times and owners


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes
    ----------
    name : str
        As it is listed.
    header : int
        Where its header lies.
    start, packed : int
        Where its bytes lie and how many they are.
    size : int
        Its bytes when unpacked, as declared.
    method : int
        0 stored, 8 deflated.
    crc : int
        CRC-32 of what is unpacked.
    """

    name: str
    header: int
    start: int
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True, slots=True)
class _Entry:
    member: Member
    flags: int
    raw: bytes


def members(file: BinaryIO, size: int) -> dict[str, Member]:
    """Return the members of an archive by name.

    Raises
    ------
    BadModel
        If it is damaged, or not laid out as above.
    """
    count, start, stop = _end(file, size)
    if count > MAX_MEMBERS:
        raise refused("zip-members", f"the archive has over {MAX_MEMBERS} members")
    if stop - start > _LISTING:
        raise refused("zip-members", "the archive's list is longer than its members need")
    entries = _entries(exactly(file, start, stop - start), count)
    found: dict[str, Member] = {}
    at = 0
    for entry in sorted(entries, key=lambda entry: entry.member.header):
        member, at = _placed(file, entry, at, entries, start)
        if member.name in found:
            raise refused("zip-duplicate", "a name is there twice", where=member.name)
        found[member.name] = member
    if at != start:
        raise refused("zip-layout", "there are bytes between the members and their list")
    total = sum(member.size for member in found.values())
    if total > 2 * size + _SLACK:
        raise refused("zip-ratio", "the archive unpacks to far more than its size")
    return found


def read(file: BinaryIO, member: Member, *, limit: int) -> bytes:
    """Unpack a small member.

    Raises
    ------
    BadModel
        If it is larger than `limit`, or its bytes do not unpack to what is declared.
    """
    if member.size > limit:
        raise refused("zip-member-size", f"it is over {limit >> 20} MiB", where=member.name)
    data = exactly(file, member.start, member.packed)
    if member.method == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, member.size + 1)
        except zlib.error as error:
            raise damaged() from error
        if not inflater.eof or inflater.unused_data:
            raise damaged()
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise damaged()
    return data


def exactly(file: BinaryIO, at: int, count: int) -> bytes:
    """Return so many bytes from a place.

    Raises
    ------
    BadModel
        If there are fewer.
    """
    file.seek(at)
    data = file.read(count)
    if len(data) != count:
        raise damaged()
    return data


def damaged() -> BadModel:
    """Build the refusal of an archive that cannot be read."""
    return refused("damaged-file", "the archive is damaged or cut short: upload it again")


def _end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Return the number of members, and where their list starts and stops."""
    at = size - _END.size
    tail = exactly(file, at, _END.size) if at >= 0 else b""
    if not tail.startswith(b"PK\x05\x06"):
        raise _without_end(file, size)
    _, disk, first_disk, here, count, length, start, comment = _END.unpack(tail)
    if comment:
        raise refused("trailing-bytes", "there are bytes after the archive's end")
    stop = at
    if _MANY in (here, count) or _FAR in (length, start) or _has_locator(file, at):
        narrow = (disk, first_disk, here, count, length, start)
        *wide, stop = _end_64(file, at)
        if any(told not in (_MANY, _FAR, meant) for told, meant in zip(narrow, wide, strict=True)):
            raise refused("zip-layout", "the archive has two ends that differ")
        disk, first_disk, here, count, length, start = wide
    if disk or first_disk or here != count or start + length != stop:
        raise refused("zip-layout", "the archive's list is not where its end says")
    return count, start, stop


def _has_locator(file: BinaryIO, at: int) -> bool:
    return at >= _LOCATOR.size and exactly(file, at - _LOCATOR.size, 4) == b"PK\x06\x07"


def _end_64(file: BinaryIO, at: int) -> tuple[int, int, int, int, int, int, int]:
    place = at - _LOCATOR.size - _END_64.size
    if place < 0:
        raise damaged()
    data = exactly(file, place, at - place)
    kind, rest, _, _, disk, first, here, count, length, start = _END_64.unpack_from(data)
    locator, locator_disk, end_at, disks = _LOCATOR.unpack_from(data, _END_64.size)
    known = kind == b"PK\x06\x06" and rest == _END_64.size - 12 and locator == b"PK\x06\x07"
    if not known or end_at != place or locator_disk or disks > 1:
        raise damaged()
    return disk, first, here, count, length, start, place


def _without_end(file: BinaryIO, size: int) -> BadModel:
    span = min(size, _END.size + _MANY)
    if exactly(file, size - span, span).rfind(b"PK\x05\x06") >= 0:
        return refused("trailing-bytes", "there are bytes after the archive's end")
    return damaged()


def _entries(listing: bytes, count: int) -> list[_Entry]:
    entries, at = [], 0
    for _ in range(count):
        if len(listing) - at < _CENTRAL.size:
            raise damaged()
        fields = _CENTRAL.unpack_from(listing, at)
        kind, _, _, flags, method, _, _, crc, packed, size = fields[:10]
        name_size, extra_size, comment_size, disk, _, mode, header = fields[10:]
        at += _CENTRAL.size
        name = listing[at : at + name_size]
        extra = listing[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if kind != b"PK\x01\x02" or at > len(listing) or disk:
            raise damaged()
        if comment_size:
            raise refused("zip-layout", "the archive's list holds more than its members")
        shown = name.decode("utf-8", "replace")
        size, packed, header = _wide(extra, shown, size, packed, header)
        member = Member(shown, header, 0, packed, size, method, crc)
        _check_entry(member, flags, mode >> 16)
        entries.append(_Entry(member, flags, name))
    if at != len(listing):
        raise refused("zip-layout", "the archive's list holds more than its members")
    return entries


def _wide(extra: bytes, name: str, *values: int) -> list[int]:
    """Return sizes and place with those of 64 bits taken from the extra fields.

    Readers differ in which of two fields they take, and some rename members by a third.
    """
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        if at + 4 > len(extra):
            raise _odd_fields(name)
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4 + length
        if kind in fields or (kind != _WIDE and kind not in _TIMES) or at > len(extra):
            raise _odd_fields(name)
        fields[kind] = extra[at - length : at]
    wide = fields.get(_WIDE, b"")
    if len(wide) != 8 * values.count(_FAR):
        raise _odd_fields(name)
    told = (int.from_bytes(wide[k : k + 8], "little") for k in range(0, len(wide), 8))
    return [next(told) if value == _FAR else value for value in values]


def _odd_fields(name: str) -> BadModel:
    return refused("zip-layout", "its extra fields could be read in two ways", where=name)


def _check_entry(member: Member, flags: int, mode: int) -> None:
    name, method, size, packed = member.name, member.method, member.size, member.packed
    if len(name) > _NAME:
        raise refused("zip-name", "a member's name is too long", where=name)
    if flags & _ENCRYPTED:
        raise refused("zip-encrypted", "the archive is encrypted", where=name)
    if flags & ~_KNOWN_FLAGS or method not in (STORED, DEFLATED):
        raise refused("zip-method", "only stored and deflated members are read", where=name)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise refused("zip-special-file", "a member is no plain file", where=name)
    if method == STORED and size != packed:
        raise damaged()
    if size > _SMALL and size > MAX_RATIO * packed:
        raise refused("zip-ratio", f"it unpacks to over {MAX_RATIO} times its bytes", where=name)


def _placed(
    file: BinaryIO, entry: _Entry, at: int, entries: list[_Entry], listing: int
) -> tuple[Member, int]:
    """Return a member with its place, and where the next one has to begin."""
    member = entry.member
    if member.header != at:
        raise refused("zip-layout", "members overlap or leave gaps", where=member.name)
    local = exactly(file, at, _LOCAL.size)
    kind, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(local)
    names = exactly(file, at + _LOCAL.size, name_size + extra_size)
    if kind != b"PK\x03\x04":
        raise damaged()
    size, packed = _wide(names[name_size:], member.name, size, packed)
    streamed = bool(flags & _STREAMED)
    told = (flags, method, names[:name_size])
    sizes = (crc, packed, size) if not streamed else (member.crc, member.packed, member.size)
    if (*told, *sizes) != (
        *(entry.flags, member.method, entry.raw),
        *(member.crc, member.packed, member.size),
    ):
        raise refused("zip-layout", "a member's header and the list differ", where=member.name)
    start = at + _LOCAL.size + name_size + extra_size
    stop = start + member.packed
    if streamed:
        headers = (other.member.header for other in entries)
        following = min((header for header in headers if header > at), default=listing)
        if following - stop not in _DESCRIPTORS:
            raise refused("zip-layout", "members overlap or leave gaps", where=member.name)
        stop = following
    if stop > listing:
        raise refused("zip-layout", "members overlap or leave gaps", where=member.name)
    return replace(member, start=start), stop
