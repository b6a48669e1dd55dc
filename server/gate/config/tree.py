"""A model's configuration after it was checked: layers, nested models and who feeds whom."""

from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


class Batch(int):
    """How many samples a call has: told apart, for it must stay the first axis of a tensor."""


class Open(int):
    """How long an axis is that is open, or made from one: its length is only known with a call."""

    __slots__ = ()


def _staying_open(name: str) -> Any:
    plain = getattr(int, name)
    return lambda self, *other: Open(plain(self, *other))


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "neg"):
    setattr(Open, f"__{_name}__", _staying_open(f"__{_name}__"))
BATCH = Batch(1)
OPEN = Open(1024)  # what it is counted as


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor in a functional model.

    Attributes
    ----------
    layer : str
        Name of the layer that makes it.
    node, tensor : int
        Which call of the layer, and which of that call's outputs.
    """

    layer: str
    node: int
    tensor: int


@dataclass(frozen=True, slots=True)
class Constant:
    """An array that stands in the configuration.

    Attributes
    ----------
    shape : tuple of int
        Its axes.
    """

    shape: Shape


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call, with the tensors in it.

    Attributes
    ----------
    tensors : tuple of Ref or Constant
        One, or those of a list or of names.
    is_one : bool
        Whether it is a tensor by itself.
    names : tuple of str
        Where the tensors stand by name.
    """

    tensors: tuple[Ref | Constant, ...]
    is_one: bool
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One call of a layer.

    Attributes
    ----------
    arguments : tuple of Argument
        What it is called on, masks and states left out.
    needs : tuple of Ref
        Every tensor that must be there before.
    key : Any
        What a tensor is indexed with; for ``GetItem`` alone.
    beside : tuple of (str, Ref or Constant)
        Masks and first states, by the argument's name, a dot and the place in it.
    is_old : bool
        Whether it is written as Keras 2 did.
    """

    arguments: tuple[Argument, ...]
    needs: tuple[Ref, ...]
    key: Any = None
    beside: tuple[tuple[str, Ref | Constant], ...] = ()
    is_old: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer.

    Attributes
    ----------
    kind : str
        Its class; ``ops.`` before an operation's.
    name : str
        Its name, which others refer to.
    config : dict
        Its checked configuration.
    where : str
        The path in the file.
    inner : dict
        Layers that it wraps, by key.
    model : Model or None
        When it is a model.
    built : tuple of Shape or None
        The shapes that it is built with before it is called.
    nodes : tuple of Node
        Its calls, in a functional model.
    """

    kind: str
    name: str
    config: dict[str, Any]
    where: str
    inner: dict[str, tuple["Layer", ...]]
    model: "Model | None" = None
    built: tuple[Shape, ...] | None = None
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model, nested or whole.

    Attributes
    ----------
    layers : tuple of Layer
        In their order.
    is_sequential : bool
        Whether each is called on what the one before it gave.
    inputs, outputs : tuple of Ref
        Of a functional model.
    names : tuple of str
        Of its inputs, where they are called by name; in the order of `inputs`.
    declared : Shape or None
        The input shape of a sequential one, where it is told.
    """

    layers: tuple[Layer, ...]
    is_sequential: bool
    inputs: tuple[Ref, ...] = ()
    outputs: tuple[Ref, ...] = ()
    declared: Shape | None = None
    names: tuple[str, ...] = ()
