"""Read protobuf messages by a closed schema, with bounds, and without reading what is long.

A field that the schema does not name is refused, and so is a single field that is there twice:
readers would join or drop it. Long fields come back as places in the file, and of long lists of
numbers, as forests of trees have them, the first ones alone.
"""

import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from server.gate.refusals import refused

MAX_FIELDS = 300_000
MAX_KEPT = 64  # numbers of a list that is written one by one
_NUMBERS = 32  # of those behind them, which count as one field
MAX_DEPTH = 24
_MAX_TEXT = 64 << 10
_PAGE = 64 << 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10
_WIRES = {
    "int": (_VARINT,),
    "ints": (_VARINT, _BYTES),
    "float": (_FIXED32,),
    "floats": (_FIXED32, _BYTES),
}
_ONE = {_VARINT: rb"[\x80-\xff]{0,9}[\x00-\x7f]", _FIXED32: rb"[\x00-\xff]{4}"}
_LOW = bytes(range(128))

Message = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    Attributes
    ----------
    name : str
        Its name.
    kind : str
        ``int``, ``ints``, ``float``, ``floats``, ``text``, ``span``, or the name of a message.
    is_many : bool
        Whether it may be there several times.
    """

    name: str
    kind: str
    is_many: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A place in the file.

    Attributes
    ----------
    start, stop : int
        Of its bytes.
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Return its length in bytes."""
        return self.stop - self.start


Schema = dict[str, dict[int, Field]]


class Reader:
    """Reads messages out of one file.

    Parameters
    ----------
    file : BinaryIO
        The open file.
    schema : dict
        The fields of each message by number.
    """

    def __init__(self, file: BinaryIO, schema: Schema) -> None:
        self._file = file
        self._schema = schema
        self._fields = 0
        self._page = b""
        self._base = 0

    def message(self, kind: str, span: Span, where: str, depth: int = 0) -> Message:
        """Return the fields of a message, each as a list.

        Raises
        ------
        BadModel
            If it is damaged, over a bound, or has a field that is not in the schema.
        """
        if depth > MAX_DEPTH:
            raise refused("onnx-depth", f"it is nested over {MAX_DEPTH} deep", where=where)
        found: Message = {}
        at = span.start
        while at < span.stop:
            number, wire, value, at = self._field(at, span, where)
            field = self._schema[kind].get(number)
            if field is None:
                raise refused("onnx-field", f"field {number} of {kind} is not read", where=where)
            inner = f"{where}.{field.name}"
            got = found.setdefault(field.name, [])
            if got and not field.is_many:
                raise refused("onnx-damaged", "a field is there twice", where=inner)
            got += self._values(field, wire, value, inner, depth)
            if len(got) >= MAX_KEPT and wire in _ONE:
                at = self._behind(number << 3 | wire, wire, at, span.stop)
        return found

    def content(self, span: Span) -> bytes:
        """Return the bytes of a place."""
        self._file.seek(span.start)
        return self._file.read(span.size)

    def _values(self, field: Field, wire: int, value: Any, where: str, depth: int) -> list[Any]:
        if wire not in _WIRES.get(field.kind, (_BYTES,)):
            raise refused("onnx-damaged", "a field is of another type", where=where)
        if wire == _FIXED32:
            return [_float(value)]
        if wire == _VARINT or field.kind == "span":
            return [value]
        if field.kind in self._schema:
            return [self.message(field.kind, value, where, depth + 1)]
        if value.size > _MAX_TEXT:
            raise refused("onnx-text", "a text or list is over 64 KiB", where=where)
        found = _short(field.kind, self.content(value), where)
        self._spend(len(found) - 1)
        return found

    def _spend(self, fields: int) -> None:
        self._fields += fields
        if self._fields > MAX_FIELDS:
            raise refused("onnx-fields", f"the file has over {MAX_FIELDS} fields")

    def _field(self, at: int, span: Span, where: str) -> tuple[int, int, Any, int]:
        """Return number, wire type and value of the field at a place, and what comes next."""
        self._spend(1)
        key, at = self._varint(at, span.stop, where)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == _VARINT:
            value, at = self._varint(at, span.stop, where)
            value -= (value >> 63) << 64
        elif wire == _BYTES:
            size, at = self._varint(at, span.stop, where)
            value = Span(at, at + size)
            at += size
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
            value = self._at(at, size)
            at += len(value) if len(value) == size else span.size + 1
        else:
            raise _damaged(where)
        if at > span.stop:
            raise _damaged(where)
        return number, wire, value, at

    def _behind(self, key: int, wire: int, at: int, stop: int) -> int:
        """Return the place behind more numbers of one list, which are counted only.

        The keys of such lists are one byte long.
        """
        several = re.compile(b"(?:%b%b)+" % (re.escape(bytes([key])), _ONE[wire]))
        while found := several.match(self._at(at, min(_PAGE, stop - at))):
            low = len(found[0]) - len(found[0].translate(None, _LOW))
            count = low // 2 if wire == _VARINT else len(found[0]) // 5
            self._spend(1 + count // _NUMBERS)
            at += len(found[0])
        return at

    def _varint(self, at: int, stop: int, where: str) -> tuple[int, int]:
        data = self._at(at, min(_MAX_VARINT, stop - at))
        value = 0
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
        raise _damaged(where)

    def _at(self, at: int, count: int) -> bytes:
        offset = at - self._base
        if not 0 <= offset <= len(self._page) - count:
            self._file.seek(at)
            self._page, self._base, offset = self._file.read(_PAGE), at, 0
        return self._page[offset : offset + count]


def varints(data: bytes, where: str) -> list[int]:
    """Return the whole numbers of a packed list."""
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append((value & 0xFFFF_FFFF_FFFF_FFFF) - ((value >> 63 & 1) << 64))
            value, shift = 0, 0
        elif shift >= 7 * _MAX_VARINT:
            raise _damaged(where)
    if shift:
        raise _damaged(where)
    return found


def _short(kind: str, data: bytes, where: str) -> list[Any]:
    if kind == "ints":
        return varints(data, where)
    if kind == "floats":
        return floats(data, where)
    return [data.decode("utf-8", "replace")]


def floats(data: bytes, where: str) -> list[float]:
    """Return the numbers of a packed list."""
    if len(data) % 4:
        raise _damaged(where)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _float(data: bytes) -> float:
    value: float = struct.unpack("<f", data)[0]
    return value


def _damaged(where: str) -> Exception:
    return refused("onnx-damaged", "the ONNX file is damaged or cut short", where=where)
