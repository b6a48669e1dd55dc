"""Whether whole numbers lie within the type that a model declares, narrower than what is sent.

Calls bring whole numbers in 32 or 64 bits. A model of uint8 or bool narrows them, and 256 would be
0 to it: an answer to another question than the one that was asked.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import UnusableInput
from server.inference.frames import Part


def check_bounds(rows: Sequence[Sequence[Part]], binding: Mapping[str, Any]) -> None:
    """Refuse numbers that the model would take for others.

    Parameters
    ----------
    rows : sequence of sequence of Part
        The tensors of each row.
    binding : mapping
        Of the model; its inputs say the `bounds` of narrow types.

    Raises
    ------
    UnusableInput
        Naming the tensor, and what it takes.
    """
    bounds = {item["tensor"]: item["bounds"] for item in binding["inputs"] if "bounds" in item}
    for row in rows if bounds else ():
        for part in row:
            if part.name in bounds:
                _check(part, *bounds[part.name])


def _check(part: Part, least: int, most: int) -> None:
    values = array("q" if part.dtype == "int64" else "i", bytes(part.data))
    if min(values, default=least) < least or max(values, default=most) > most:
        raise UnusableInput(f"the tensor {part.name!r} takes whole numbers from {least} to {most}")
