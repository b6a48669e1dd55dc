"""What the server tells of its frontends, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Frontend:
    """What turns a sound into numbers.

    Attributes
    ----------
    id : str
        With its version.
    kind : str
        ``row`` or ``picture``.
    description : str
        For people.
    shape : tuple of int
        Where nobody asks for another.
    """

    id: str
    kind: str
    description: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Frontend":
        """Take it from JSON."""
        return cls(said["id"], said["kind"], said["description"], tuple(said["shape"]))


@dataclass(frozen=True, slots=True)
class FrontendTensor:
    """What a frontend made of a sound.

    Attributes
    ----------
    frontend : str
        Its id.
    window : str
        Which part of the sound was used.
    shape : tuple of int
        Of the numbers.
    names : tuple of str
        Of the numbers of a row; empty for a picture.
    data : tuple of float
        In row-major order.
    """

    frontend: str
    window: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    data: tuple[float, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "FrontendTensor":
        """Take it from JSON."""
        names = tuple(said.get("names", ()))
        return cls(
            *(said["frontend"], said["window"], tuple(said["shape"]), names, tuple(said["data"]))
        )
