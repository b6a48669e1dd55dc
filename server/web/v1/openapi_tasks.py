"""What the tasks add to the description of the API: it is read off their contracts.

A task that is added stands here without a word being written: its name among those of `task`, its
parameters beside the others of ``POST /v1/jobs``, its sentence in the description.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from server.inference.contracts import Contracts


def with_tasks(described: Mapping[str, Any], contracts: Contracts) -> dict[str, Any]:
    """Return a description with the tasks that answer by jobs.

    Parameters
    ----------
    described : mapping
        An OpenAPI document with the operation ``POST /v1/jobs``.
    contracts : Contracts
        The tasks.
    """
    tasks = [task for task in contracts.tasks.values() if task["answers"] == "job"]
    whole = copy.deepcopy(dict(described))
    submit = whole["paths"]["/v1/jobs"]["post"]
    for parameter in submit["parameters"]:
        if parameter["name"] == "task":
            parameter["schema"] = {"type": "string", "enum": [task["name"] for task in tasks]}
    submit["parameters"] += _parameters(tasks)
    sentences = " ".join(f"`{task['name']}`: {task['summary']}" for task in tasks)
    submit["description"] = f"{submit['description']} {sentences}"
    return whole


def _parameters(tasks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every parameter once, with what it means in each task that has it."""
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for parameter in task["parameters"]:
            text = f"`{task['name']}`: {parameter['summary']}"
            schema = _schema(parameter)
            known = found.get(parameter["name"])
            if known is None:
                found[parameter["name"]] = {
                    "name": parameter["name"],
                    "in": "query",
                    "required": False,
                    "description": text,
                    "schema": schema,
                }
            else:
                known["description"] += f" {text}"
                known["schema"] = _either(known["schema"], schema)
    return list(found.values())


def _schema(parameter: Mapping[str, Any]) -> dict[str, Any]:
    if parameter["kind"] == "choice":
        return {"type": "string", "enum": list(parameter["choices"])}
    limits = {"minimum": parameter["least"], "maximum": parameter["most"]}
    return {"type": parameter["kind"], **limits}


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if one == other:
        return one
    kinds = one.get("anyOf", [one])
    return {"anyOf": [*kinds, *([] if other in kinds else [other])]}
