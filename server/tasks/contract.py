"""What a task takes, gives and asks of its models: plain data, which the web process sees too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
class Window:
    """How a sound is cut for a model, in samples at the task's rate.

    Attributes
    ----------
    size, hop : int
        Of one window, and from the start of one to that of the next.
    stitch : str
        What becomes of the outputs where windows overlap.
    """

    size: int
    hop: int
    stitch: Literal["none", "mean", "trim", "overlap_add"]


@dataclass(frozen=True, slots=True)
class Form:
    """What a model of a task looks like; axes that are None are free.

    Attributes
    ----------
    name : str
        Among the forms of the task.
    inputs, outputs : tuple of TensorSpec
        Under the names that the task uses; a manifest says which tensor of a model is which.
    window : Window or None
        What one row is of a sound.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a caller may choose.

    Attributes
    ----------
    name, summary : str
        For requests, and for people.
    kind : str
        ``number``, ``integer`` or ``choice``.
    default : float, int or str
        Where nobody chose.
    least, most : float or None
        Of a number, both included.
    choices : tuple of str
        Of a choice.
    """

    name: str
    summary: str
    kind: Literal["number", "integer", "choice"]
    default: float | int | str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a job makes.

    Attributes
    ----------
    name : str
        Without its extension.
    summary : str
        One sentence for people.
    formats : tuple of str
        Its extension; of several the parameter ``format`` chooses.
    """

    name: str
    summary: str
    formats: tuple[str, ...]


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
    answers : str
        ``prediction``: a request waits for it; ``job``: it outlives the request.
    channels : int
        Of the waveform.
    forms : tuple of Form
        What its models look like: one of these. Empty where the task looks by itself.
    parameters : tuple of Parameter
        What the caller of a job may choose.
    artifacts : tuple of Artifact
        The files that a job makes.
    baseline : str
        Id of what answers where no model is named; empty: there is none. It takes the place of a
        model of the first form.
    version : int
        A result of another version is not given again.
    """

    name: str
    sample_rate_hz: int
    min_seconds: float
    frontends: tuple[str, ...]
    summary: str
    takes: Literal["sound", "tensors"] = "sound"
    answers: Literal["prediction", "job"] = "prediction"
    channels: int = 1
    forms: tuple[Form, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    baseline: str = ""
    version: int = 1


def names(specs: Sequence[TensorSpec]) -> list[str]:
    """Return the names of tensors."""
    return [spec.name for spec in specs]
