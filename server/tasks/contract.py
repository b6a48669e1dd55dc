"""What a task is: a contract that is plain data, and three functions that run in child processes.

::

    model's signature + manifest --bind--> binding (JSON, kept in the model's record)
    sound + fields    + binding  --frontend--> named tensors --model--> output tensors
    output tensors    + binding  --decode----> reply

The web process sees the contract and the binding as data only; it imports no task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[np.float32]]
_WIDE = ("int64", "uint32", "uint64")
# what a model of a type can hold, where that is less than what is fed to it
_BOUNDS = {
    "bool": (0, 1),
    **{f"int{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32)},
    "uint64": (0, (1 << 63) - 1),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model as its file declares it.

    Attributes
    ----------
    name : str
        As the model names it.
    shape : tuple of int or None
        The batch axis first; None where the model leaves an axis open.
    dtype : str
        For example ``float32``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def fed(self) -> str:
        """The dtype that calls bring: every float is float32, integers are 32 or 64 bits wide."""
        if "float" in self.dtype:
            return "float32"
        return "int64" if self.dtype in _WIDE else "int32"

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Least and largest whole number that the model takes; None where all that are fed are."""
        return _BOUNDS.get(self.dtype)

    def describe(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's inputs and outputs, in its own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def describe(self) -> dict[str, Any]:
        """Return the signature as JSON values."""
        return {
            "inputs": [spec.describe() for spec in self.inputs],
            "outputs": [spec.describe() for spec in self.outputs],
        }


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's input.

    Attributes
    ----------
    sound : bytes
        A sound file.
    ext : str or None
        The format that the caller named.
    csv : bytes
        A feature row; empty to have it computed.
    window : dict or None
        What was told of this sound's window before.
    known : mapping of str to np.ndarray
        Raw values by name that were made of this sound before. With all that the binding needs, and
        the window, `sound` may be empty.
    """

    sound: bytes
    ext: str | None
    csv: bytes
    window: dict[str, Any] | None = None
    known: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a frontend makes of a call.

    Attributes
    ----------
    tensors : dict of str to np.ndarray
        The model's inputs by name.
    told : dict
        How they were made, as JSON values.
    made : dict of str to np.ndarray
        The raw values by name that were computed for this call: before columns are chosen and
        scaled, so that they serve every model on this sound.
    """

    tensors: Tensors
    told: dict[str, Any]
    made: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Contract:
    """What a task takes and gives, as data.

    Attributes
    ----------
    name : str
        The task's name in manifests.
    sample_rate_hz : int
        Of the waveform that its frontends see; 0 for a task without sound.
    min_seconds : float
        Shortest sound.
    frontends : tuple of str
        Ids that its inputs may name.
    summary : str
        One sentence for people.
    takes : str
        What a call brings: ``sound``, or ``tensors`` as the model takes them.
    """

    name: str
    sample_rate_hz: int
    min_seconds: float
    frontends: tuple[str, ...]
    summary: str
    takes: Literal["sound", "tensors"] = "sound"


@dataclass(frozen=True, slots=True)
class Task:
    """A contract and the functions that fulfil it.

    Attributes
    ----------
    contract : Contract
        Plain data.
    bind : callable
        Signature and manifest to binding; raises `BadModel` naming the axis that is wrong.
    frontend : callable
        Call and binding to the model's tensors, and what else is known then.
    decode : callable
        Output tensors and binding to the reply.
    windows : callable or None
        Call, binding, the first window and how many at most to the tensors of those windows, one
        row each; `told` also counts the windows of the whole sound. None: for a task without sound.
    """

    contract: Contract
    bind: Callable[[Signature, Mapping[str, Any]], dict[str, Any]]
    frontend: Callable[[Call, Mapping[str, Any]], Prepared]
    decode: Callable[[Mapping[str, NDArray[Any]], Mapping[str, Any]], dict[str, Any]]
    windows: Callable[[Call, Mapping[str, Any], int, int], Prepared] | None = None


def names(specs: Sequence[TensorSpec]) -> list[str]:
    """Return the names of tensors."""
    return [spec.name for spec in specs]
