"""Inputs that no model has: what a frontend makes of a sound is asked for as a model's input.

So it comes of the same window, by the same path and from the same cache as what models are fed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import FrontendNotFound, MalformedRequest
from server.inference.contracts import Contracts

_TENSOR = "value"


def frontend_binding(
    contracts: Contracts, name: str, *, height: int | None = None, width: int | None = None
) -> Mapping[str, Any]:
    """Return a binding with one input, which is what a frontend makes.

    Parameters
    ----------
    contracts : Contracts
        Know the frontends.
    name : str
        The id of one.
    height, width : int or None
        Of a picture; None: as the frontend draws it by itself.

    Raises
    ------
    FrontendNotFound
        If there is no such frontend.
    MalformedRequest
        If a row is to have sides, or a picture sides that it cannot have.
    """
    known = contracts.frontends.get(name)
    if known is None:
        raise FrontendNotFound(f"there are {', '.join(contracts.frontends)}")
    if known["kind"] == "row":
        if height is not None or width is not None:
            raise MalformedRequest(f"{name} is a row: it has no height and width")
        item = row_input(name, known["names"])
    else:
        sides = [height or known["shape"][0], width or known["shape"][1]]
        for axis, side, (low, high) in zip(
            ("height", "width"), sides, (known["heights"], known["widths"]), strict=True
        ):
            if not low <= side <= high:
                raise MalformedRequest(f"`{axis}` is a whole number from {low} to {high}")
        item = _picture_input(name, *sides)
    return {"task": contracts.task_of(name), "inputs": [{**item, "tensor": _TENSOR}]}


def row_input(name: str, columns: Sequence[str]) -> dict[str, Any]:
    """Return an input of features, without its tensor's name."""
    return {
        "frontend": name,
        "kind": "row",
        "columns": list(columns),
        "shape": [1, len(columns)],
        "value": name,
    }


def _picture_input(name: str, height: int, width: int) -> dict[str, Any]:
    return {
        "frontend": name,
        "kind": "picture",
        "height": height,
        "width": width,
        "shape": [1, height, width, 1],
        "value": f"{name} {height}x{width}",
    }
