"""Judge a model file by its structure: the whole gate in one call.

::

    first bytes -> zip or HDF5 rules -> configuration -> cost -> weights against it -> verdict

Nothing is built, no value of a weight is read, and no library that could run a model is imported.
What is not known is refused.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from server.gate.archive import zips
from server.gate.archive.unpacked import Unpacked
from server.gate.archive.zips import Member
from server.gate.config import json_text
from server.gate.config.json_text import MAX_BYTES
from server.gate.config.keras_version import is_before_3
from server.gate.config.reader import ConfigReader
from server.gate.cost.cost import Cost, count
from server.gate.hdf5 import legacy_weights
from server.gate.hdf5.outline import Dataset, Outline, opened, outline
from server.gate.hdf5.window import part_of
from server.gate.onnx.graphs import judge_onnx
from server.gate.reading import Placed, digest_of
from server.gate.refusals import refused, shown
from server.gate.sniff import Format, kind
from server.gate.version import VERSION
from server.gate.weights import compare

MAX_FILE = 8 << 30
_VERSION_CHARS = 64
_CHECKED = 32 << 20  # the checker takes several times as much
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MEMBERS = {_METADATA, _CONFIG, _WEIGHTS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found out of a file that it lets through.

    Attributes
    ----------
    format : str
        ``h5``, ``keras`` or ``onnx``.
    keras_version : str or None
        That wrote it.
    reading : str or None
        What was judged, as `server.gate.reading` tells it; ONNX files have none.
    cost : Cost
        Of one sample. Of an ONNX file the numbers and operators alone: the shapes between them are
        not followed.
    """

    format: Format
    keras_version: str | None
    reading: str | None
    cost: Cost

    def describe(self) -> dict[str, Any]:
        """Return it as plain data for the model's record."""
        return {
            "version": VERSION,
            "format": self.format,
            "keras_version": self.keras_version,
            "reading": self.reading,
            **asdict(self.cost),
        }


def judge(path: Path) -> Verdict:
    """Judge a file.

    Raises
    ------
    BadModel
        With a code in ``reason``, the place in ``where``, and a sentence for the owner.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE:
            raise refused("file-size", f"the file is over {MAX_FILE >> 30} GiB")
        return _BY_FORMAT[kind(file, size)](file, size)


def _ask_the_library(file: BinaryIO, size: int) -> None:
    """Have ONNX's own checker look at a file that we find nothing wrong with, if it is small."""
    if size > _CHECKED:
        return
    from onnx import checker  # noqa: PLC0415  # heavy, and for the few files that come this far

    file.seek(0)
    try:
        checker.check_model(file.read())
    except (checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise refused("onnx-checker", f"ONNX's own checker says: {shown(lines[0])}") from error


def _h5(file: BinaryIO, size: int) -> Verdict:
    read_at = part_of(file, 0)
    with opened(read_at, size=size) as tree:
        found = outline(tree, read_at, size=size)
        config = legacy_weights.text(tree, "model_config")
        version = legacy_weights.text(tree, "keras_version")
        if config is None:
            raise _without_model(tree.attrs, found)
        stored = legacy_weights.listed(tree, found)
    raw = config.encode()
    return _verdict("h5", raw, version, stored, digest_of(raw))


def _without_model(attributes: Any, found: Outline) -> Exception:
    if "layer_names" in attributes or {"layers", "_layer_checkpoint_dependencies"} & found.groups:
        return refused(
            "weights-only",
            "the file holds weights without a model: save with model.save(...), not save_weights",
        )
    return refused("no-model", "the HDF5 file holds no Keras model")


def _keras(file: BinaryIO, size: int) -> Verdict:
    members = zips.members(file, size)
    if missing := sorted(_MEMBERS - set(members)):
        raise refused("no-model", f"the archive is no Keras model: it lacks {missing}")
    if other := sorted(set(members) - _MEMBERS):
        raise refused(
            "zip-member", "a Keras model without look-up tables has no such member", where=other[0]
        )
    config = zips.read(file, members[_CONFIG], limit=MAX_BYTES)
    metadata = json_text.load(zips.read(file, members[_METADATA], limit=MAX_BYTES), where=_METADATA)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if version is not None and not isinstance(version, str):
        raise refused("bad-value", "the version of Keras is no text", where=_METADATA)
    stored = _weights(file, members[_WEIGHTS])
    return _verdict(
        "keras", config, version, stored, digest_of(config, map(_placed, members.values()))
    )


def _placed(member: Member) -> Placed:
    return Placed(
        *(member.name, member.header, member.method, member.packed, member.size, member.crc)
    )


def _weights(file: BinaryIO, member: Member) -> list[Dataset]:
    if member.method == zips.STORED:
        read_at = part_of(file, member.start)
    else:
        read_at = Unpacked(file, member).read_at
    with opened(read_at, size=member.size) as tree:
        found = outline(tree, read_at, size=member.size)
    return [dataset for path, dataset in found.datasets.items() if not _is_left_out(path)]


def _is_left_out(path: str) -> bool:
    """Whether an array tells how the training stood, or the state of a random generator."""
    *folders, _ = path.split("/")
    trained = any(
        part == "optimizer" and around != "layers" for around, part in pairwise(["", *folders])
    )
    return trained or "seed_generator" in path


def _verdict(
    format_: Format, config: bytes, version: str | None, stored: list[Dataset], reading: str
) -> Verdict:
    if len(version or "") > _VERSION_CHARS or not (version or "").isprintable():
        raise refused("bad-value", "the version of Keras is none", where="keras_version")
    reader = ConfigReader(is_old=is_before_3(version))
    layer = reader.model(json_text.load(config, where=_CONFIG))
    cost, weights, twice = count(layer)
    compare(weights, stored, twice=twice if format_ == "keras" else ())
    return Verdict(format_, version, reading, cost)


def _onnx(file: BinaryIO, size: int) -> Verdict:
    found = judge_onnx(file, size)
    _ask_the_library(file, size)
    cost = Cost(found.parameters, activations=0, largest=0, flops=0, layers=found.nodes)
    return Verdict("onnx", None, None, cost)


_BY_FORMAT: dict[Format, Callable[[BinaryIO, int], Verdict]] = {
    "h5": _h5,
    "keras": _keras,
    "onnx": _onnx,
}
