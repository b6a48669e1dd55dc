"""What the caller of a job chose, held against the contract of its task."""

import math
from collections.abc import Mapping
from typing import Any

from server.errors import MalformedRequest

FORMAT = "format"  # of the artifacts that have several


def parameters_of(contract: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter of a task: what was given, else its default.

    Parameters
    ----------
    contract : mapping
        As a decoder described it.
    given : mapping
        Texts, or JSON values.

    Raises
    ------
    MalformedRequest
        Naming the parameter, and what is allowed.
    """
    known = {parameter["name"]: parameter for parameter in contract["parameters"]}
    if unknown := sorted(set(given) - set(known)):
        raise MalformedRequest(
            f"the task {contract['name']!r} has no parameters {unknown[:5]}; it has {sorted(known)}"
        )
    return {
        name: _value(parameter, given[name]) if name in given else parameter["default"]
        for name, parameter in known.items()
    }


def _value(parameter: Mapping[str, Any], given: Any) -> Any:
    if parameter["kind"] == "choice":
        if given not in parameter["choices"]:
            raise _refused(parameter, f"one of {list(parameter['choices'])}")
        return given
    number = _number(given)
    least, most = parameter["least"], parameter["most"]
    is_whole = parameter["kind"] == "integer"
    if number is None or not least <= number <= most or (is_whole and number % 1):
        kind = "a whole number" if is_whole else "a number"
        raise _refused(parameter, f"{kind} from {least:g} to {most:g}")
    return int(number) if is_whole else number


def _number(given: Any) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _refused(parameter: Mapping[str, Any], allowed: str) -> MalformedRequest:
    return MalformedRequest(f"`{parameter['name']}` is {allowed}")


def file_names(contract: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the file name of each artifact that a job makes, by the artifact's name."""
    return {
        item["name"]: f"{item['name']}.{_extension(item['formats'], parameters)}"
        for item in contract["artifacts"]
    }


def _extension(formats: list[str], parameters: Mapping[str, Any]) -> str:
    chosen: str = parameters[FORMAT] if len(formats) > 1 else formats[0]
    return chosen
