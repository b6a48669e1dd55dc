"""Walk an HDF5 file by its structure, and refuse what a model's weights never need.

No value of a dataset is read, so no filter runs. What is declared is held against what is stored,
since whoever loads the file will take memory for what is declared.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import h5py
from h5py import h5, h5a, h5d, h5g, h5l, h5o, h5s, h5t

from server.errors import BadModel
from server.gate.hdf5 import storage
from server.gate.hdf5.blocks import ReadAt
from server.gate.hdf5.superblock import BYTES, UNDEFINED, check_superblock, damaged
from server.gate.hdf5.window import Window
from server.gate.refusals import refused

MAX_OBJECTS = 8000
MAX_ARRAYS, MAX_PLANNED = 4000, 1000  # all of them, and those in pieces
MAX_DEPTH = 64
MAX_ATTRIBUTES = 8 << 20
MAX_EXPANSION = 4
_SLACK = 1 << 20
_MAX_RANK = 8
_NAMED = 2
_ATTRIBUTES_OF_ONE = 64
_ATTRIBUTE = 1 << 10  # what one counts beside its value: to look at it takes time, not memory
_BUDGET = 128 << 20
_LINKS = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}
_PLAIN = h5t.TypeStringID | h5t.TypeIntegerID | h5t.TypeFloatID | h5t.TypeEnumID
# what h5py lets out of a file that is not as it should be
_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is declared of an array.

    Attributes
    ----------
    shape : tuple of int
        Its axes.
    is_float : bool
        Whether it holds floats; whole numbers and booleans otherwise.
    """

    shape: tuple[int, ...]
    is_float: bool


@dataclass(slots=True)
class Outline:
    """What a file holds.

    Attributes
    ----------
    read_at : callable
        Returns so many bytes from a place of it.
    datasets : dict
        Arrays by path, without a leading slash.
    groups : set of str
        Paths of the groups; the root is ``""``.
    """

    read_at: ReadAt
    datasets: dict[str, Dataset] = field(default_factory=dict)
    groups: set[str] = field(default_factory=lambda: {""})
    _stored: int = 0
    _declared: int = 0
    _attributes: int = 0
    _planned: int = 0
    _pieces: int = 0


@contextmanager
def opened(read_at: ReadAt, *, size: int) -> Iterator[Any]:
    """Open bytes as HDF5, and nothing outside of them.

    Parameters
    ----------
    read_at : callable
        Returns so many bytes from a place.
    size : int
        How many there are.

    Raises
    ------
    BadModel
        If it is damaged, or does not begin and end where it should.
    """
    check_superblock(read_at(min(BYTES, size), 0), size)
    window = Window(read_at, size=size, budget=_BUDGET)
    try:
        with h5py.File(window, "r", locking=False) as opened_file:
            _keep_outline(opened_file.id)
            yield opened_file
    except BadModel:
        raise
    except _ERRORS as error:
        raise damaged() from error


def _keep_outline(file: Any) -> None:
    """Let the library keep as much of the outline from the start as it would in the end.

    It is gone through twice, and what was dropped in between would be read again.
    """
    cache = file.get_mdc_config()
    cache.set_initial_size = True
    cache.initial_size = cache.max_size
    file.set_mdc_config(cache)


def outline(file: Any, read_at: ReadAt, *, size: int) -> Outline:
    """Walk through an open file.

    Parameters
    ----------
    file : h5py.File
        What `opened` gives.
    read_at, size : callable, int
        What it was opened with.

    Raises
    ------
    BadModel
        With the path of what is not allowed.
    """
    found = Outline(read_at)
    root = h5g.open(file.id, b"/")
    places = _places(root)
    inside = Counter(name.rpartition(b"/")[0] for name in places)
    _check_group(root, b"", inside, found)
    for name in places:
        item, path = h5o.open(root, name), _text(name)
        if isinstance(item, h5g.GroupID):
            found.groups.add(path)
            _check_group(item, name, inside, found)
        elif isinstance(item, h5d.DatasetID):
            _check_attributes(item, path, found)
            found.datasets[path] = _dataset(item, path, size, found)
            if len(found.datasets) > MAX_ARRAYS:
                raise refused("hdf5-objects", f"the file holds over {MAX_ARRAYS} arrays")
        else:
            raise refused("hdf5-type", "a type of its own is in the file", where=path)
    if found._declared > MAX_EXPANSION * found._stored + _SLACK:
        raise refused("hdf5-bomb", "the arrays declare far more than the file stores")
    return found


def _places(root: Any) -> list[bytes]:
    """Return the paths of all objects below the root: plain trees only, each object under one name.

    A refusal cannot leave a callback of the library as itself, so it is kept until the walk ends.
    It goes as the file has them: in any other order the library first makes a table of as many as
    a number in the file says, and fills it with those that there are.
    """
    found: list[bytes] = []
    seen = {h5o.get_info(root).addr}
    fault: list[BadModel] = []

    def visit(name: bytes, link: Any) -> bool | None:
        if link.type != h5l.TYPE_HARD:
            kind = _LINKS.get(link.type, "a link of its own kind")
            fault.append(refused("hdf5-link", f"{kind} is in the file", where=_text(name)))
        elif link.u in seen:
            told = "two names lead to one object"
            fault.append(refused("hdf5-shared-object", told, where=_text(name)))
        elif len(found) == MAX_OBJECTS:
            fault.append(refused("hdf5-objects", f"the file holds over {MAX_OBJECTS} objects"))
        # the library goes down one call of its own deeper for each group
        elif name.count(b"/") >= MAX_DEPTH:
            told = f"groups lie over {MAX_DEPTH} deep in one another"
            fault.append(refused("hdf5-nested", told, where=_text(name)))
        else:
            seen.add(link.u)
            found.append(name)
            return None
        return True

    root.links.visit(visit, info=True, order=h5.ITER_NATIVE)
    if fault:
        raise fault[0]
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _check_group(group: Any, name: bytes, inside: Counter[bytes], found: Outline) -> None:
    """Look at what a group says, and that those who count see as many in it as were found."""
    if group.get_num_objs() != inside[name]:
        raise damaged()
    _check_attributes(group, _text(name), found)


def _check_attributes(item: Any, path: str, found: Outline) -> None:
    names: list[bytes] = []

    def note(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) > _ATTRIBUTES_OF_ONE else None

    if h5a.iterate(item, note, order=h5.ITER_NATIVE):
        raise refused("hdf5-attributes", "an object has too many attributes", where=path)
    if h5a.get_num_attrs(item) != len(names):
        raise damaged()
    for name in names:
        attribute = h5a.open(item, name)
        kind = attribute.get_type()
        if not isinstance(kind, _PLAIN) or _has_names(kind):
            raise refused("hdf5-attributes", "an attribute is no text and no number", where=path)
        found._attributes += (
            _ATTRIBUTE + kind.get_size() * attribute.get_space().get_simple_extent_npoints()
        )
        if found._attributes > MAX_ATTRIBUTES:
            raise refused("hdf5-attributes", "the attributes are too many or too large", where=path)


def _dataset(item: Any, path: str, size: int, found: Outline) -> Dataset:
    kind = item.get_type()
    width = kind.get_size()
    is_float = isinstance(kind, h5t.TypeFloatID)
    is_whole_number = isinstance(kind, h5t.TypeIntegerID | h5t.TypeEnumID)
    if not (is_float or is_whole_number) or width > 8 or _has_names(kind):
        raise refused("hdf5-type", "an array is not of plain numbers", where=path)
    space = item.get_space()
    if space.get_simple_extent_type() not in (h5s.SCALAR, h5s.SIMPLE):
        raise refused("hdf5-type", "an array is empty by its kind", where=path)
    shape = tuple(int(axis) for axis in space.get_simple_extent_dims())
    if len(shape) > _MAX_RANK:
        raise refused("hdf5-type", f"an array has over {_MAX_RANK} axes", where=path)
    largest = space.get_simple_extent_dims(True)
    if any(most not in (n, h5s.UNLIMITED) for n, most in zip(shape, largest, strict=True)):
        # pieces are looked up by the largest axes, in an index that may be shorter
        raise refused("hdf5-type", "an array may grow to axes of its own", where=path)
    plan = item.get_create_plist()
    storage.check_place(plan, path)
    offset = item.get_offset()
    is_whole = offset is not None and offset != UNDEFINED  # then no filters and no views are there
    pieces = 0 if is_whole else _planned(plan, path, shape, found)
    # of an array in pieces all of them are unpacked, also where its axes end before they do
    numbers = pieces * prod(plan.get_chunk()) if pieces else prod(shape)
    declared, stored = width * numbers, item.get_storage_size()
    if is_whole and offset + stored > size:
        raise refused("hdf5-bomb", "an array lies outside of the file", where=path)
    if declared and not stored:
        raise refused("hdf5-bomb", "an array was never written", where=path)
    found._declared += declared
    found._stored += stored
    if declared > MAX_EXPANSION * stored + _SLACK:
        raise refused("hdf5-bomb", "an array declares far more than it stores", where=path)
    # parts of the file may be claimed by several arrays: then they claim more than there is
    if found._stored > size:
        raise refused("hdf5-bomb", "the arrays claim more bytes than the file has", where=path)
    if pieces:
        storage.check_pieces(item, plan, path, width, found.read_at, most=pieces)
    return Dataset(shape, is_float)


def _has_names(kind: Any) -> bool:
    """Whether numbers have more names than the two of a boolean, as h5py stores it."""
    return isinstance(kind, h5t.TypeEnumID) and kind.get_nmembers() > _NAMED


def _planned(plan: Any, path: str, shape: tuple[int, ...], found: Outline) -> int:
    """Return how many pieces an array has that does not lie in one."""
    found._planned += 1
    if found._planned > MAX_PLANNED:
        told = f"over {MAX_PLANNED} arrays are stored in pieces"
        raise refused("hdf5-objects", told, where=path)
    pieces = storage.pieces_of(plan, path, shape)
    found._pieces += pieces
    if found._pieces > storage.MAX_PIECES:
        told = f"the arrays have over {storage.MAX_PIECES} pieces"
        raise refused("hdf5-bomb", told, where=path)
    return pieces
