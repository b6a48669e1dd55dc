"""Read who feeds whom in a functional model: the calls of its layers, its inputs and outputs."""

from collections.abc import Iterable
from typing import Any

from server.gate.config import values
from server.gate.config.tree import Argument, Constant, Node, Ref
from server.gate.refusals import refused

_TENSOR = "__keras_tensor__"
_ARRAYS = ("__numpy__", "__tensor__", "__tuple__")
# by which layers and operations take tensors, in the order in which they take them
_NAMES = ("inputs", "sequences", "condition", "x", "xs", "x1", "x2", "query", "value", "key")
_INDEX = ("__slice__", "__ellipsis__")
_MAX_TENSOR = 1000
_MANY = 4096


def nodes(value: Any, where: str, *, of_item: bool = False) -> tuple[Node, ...]:
    """Return the calls of a layer.

    Parameters
    ----------
    value : Any
        ``inbound_nodes``, as Keras 3 writes them (arguments) or as Keras 2 did (names).
    where : str
        The layer's path.
    of_item : bool
        Whether its second argument is what a tensor is indexed with.
    """
    if not isinstance(value, list):
        raise values.bad_value(value, where)
    return tuple(_node(item, where, of_item=of_item) for item in value)


def refs(value: Any, where: str) -> tuple[Ref, ...]:
    """Return the ends of a model: one, a list of them, or named ones in the order of the names."""
    if isinstance(value, dict):
        return tuple(ref for key in sorted(value) for ref in refs(value[key], where))
    if not isinstance(value, list):
        raise values.bad_value(value, where)
    if len(value) == 3 and isinstance(value[0], str):
        return (_ref(value, where),)
    return tuple(ref for item in value for ref in refs(item, where))


def _node(value: Any, where: str, *, of_item: bool) -> Node:
    if isinstance(value, list):
        return _old_node(value, where)
    if not isinstance(value, dict) or set(value) != {"args", "kwargs"}:
        raise values.bad_value(value, where)
    args, named = value["args"], value["kwargs"]
    if not isinstance(args, list) or not isinstance(named, dict):
        raise values.bad_value(named, where)
    key = None
    if of_item:
        key = args[1] if len(args) > 1 else named.get("key")
        if any(isinstance(item, Ref) for item in _tensors(key, where)):
            raise values.bad_value(key, where)
        args, named = args[:1], {}
    told = [found for item in args if (found := _argument(item, where))]
    beside: list[tuple[str, Ref | Constant]] = []
    by_name: dict[str, Argument] = {}
    for name, item in named.items():
        if "mask" in name or name == "initial_state":
            beside += [(f"{name}.{k}", one) for k, one in _beside(item, where)]
        elif found := _argument(item, where):
            by_name[name] = found
    told += [by_name[name] for name in _in_order(by_name, alone=not told, where=where)]
    tensors = [one for argument in told for one in argument.tensors]
    if not any(isinstance(one, Ref) for one in tensors):
        # Keras would compute it at once, and not count it among the layer's calls
        raise refused("broken-graph", "it is called on no tensor of the model", where=where)
    needs = [one for one in (*tensors, *(one for _, one in beside)) if isinstance(one, Ref)]
    return Node(tuple(told), tuple(needs), key, tuple(beside))


def _beside(value: Any, where: str) -> list[tuple[int, Ref | Constant]]:
    """Return masks or states with their places; Keras writes null where there is none."""
    if not isinstance(value, list) or None not in value:
        return list(enumerate(_tensors(value, where)))
    return [(k, _one(item, where)) for k, item in enumerate(value) if item is not None]


def _argument(value: Any, where: str) -> Argument | None:
    """Return an argument with tensors: one, a list of such, or such by name; else None."""
    if isinstance(value, list) and not _are_scalars(value):
        items = [_one(item, where) for item in value]
        return Argument(tuple(items), is_one=False)
    if isinstance(value, dict) and value.get("class_name") is None:
        names = tuple(sorted(value))
        return Argument(tuple(_one(value[name], where) for name in names), False, names)
    found = _tensors(value, where)
    return Argument(tuple(found), is_one=True) if found else None


def _one(value: Any, where: str) -> Ref | Constant:
    found = _tensors(value, where)
    in_list = isinstance(value, list) and not _are_scalars(value)
    by_name = isinstance(value, dict) and "class_name" not in value
    if len(found) != 1 or in_list or by_name:
        raise values.bad_value(value, where)
    return found[0]


def _in_order(names: Iterable[str], *, alone: bool, where: str) -> list[str]:
    """Return the names of tensors as the function has them, whatever their order in the file."""
    found = list(names)
    if alone and len(found) == 1:
        return found
    if odd := [name for name in found if name not in _NAMES]:
        raise values.unknown_key(odd[0], where)
    return sorted(found, key=_NAMES.index)


def _old_node(value: list[Any], where: str) -> Node:
    told = []
    for item in value:
        if not isinstance(item, list) or len(item) not in (3, 4):
            raise values.bad_value(item, where)
        told.append(_ref(item[:3], where))
        for key, argument in _pairs(item[3] if len(item) == 4 else {}, where):
            _check_argument(argument, f"{where}.{key}")
    if not told:
        raise refused("broken-graph", "it is called on no tensor of the model", where=where)
    return Node((Argument(tuple(told), len(told) == 1),), tuple(told), is_old=True)


def _pairs(value: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or "class_name" in value:
        raise values.bad_value(value, where)
    return list(value.items())


def _check_argument(value: Any, where: str) -> None:
    """Let pass what can be no tensor: a number, a word, or nothing."""
    if isinstance(value, str):
        values.name(value, where)
    elif isinstance(value, list | dict):
        raise values.bad_value(value, where)


def _tensors(value: Any, where: str) -> list[Ref | Constant]:
    if isinstance(value, list):
        if _are_scalars(value):
            if values.count(value) > _MANY:
                sentence = f"over {_MANY} numbers in a list do not belong here: use an array"
                raise refused("bad-value", sentence, where=where)
            return [Constant(values.shape_of(value))]
        return [found for item in value for found in _tensors(item, where)]
    if isinstance(value, str):
        values.word(value, where)
    if not isinstance(value, dict):
        return []
    if value.get("class_name") is None:
        return [found for key in sorted(value) for found in _tensors(value[key], where)]
    return _written_out(value, where)


def _written_out(value: dict[str, Any], where: str) -> list[Ref | Constant]:
    kind = value["class_name"]
    if kind in _ARRAYS:
        inner = values.plain(values.array(value, where), where)
        return [Constant(values.shape_of(inner))]
    if kind in _INDEX and isinstance(config := value.get("config"), dict):
        return [found for item in config.values() for found in _tensors(item, where)]
    if kind != _TENSOR or set(value) != {"class_name", "config"}:
        raise refused("custom-object", "an argument of a call is an object", where=where)
    return [_kept_tensor(value["config"], where)]


def _are_scalars(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_are_scalars, value))
    return not isinstance(value, dict)


def _kept_tensor(config: Any, where: str) -> Ref:
    if not isinstance(config, dict) or not set(config) <= {"shape", "dtype", "keras_history"}:
        raise values.bad_value(config, where)
    values.whole(config.get("shape"), where)
    values.input_dtype(config.get("dtype"), where)
    return _ref(config.get("keras_history"), where)


def _ref(value: Any, where: str) -> Ref:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise values.bad_value(value, where)
    layer, node, tensor = value
    for number in (node, tensor):
        if not isinstance(number, int) or not 0 <= number <= _MAX_TENSOR:
            raise values.bad_value(number, where)
    return Ref(layer, int(node), int(tensor))
