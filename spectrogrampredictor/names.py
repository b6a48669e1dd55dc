"""What a client does with names for models, step by step: see `calls`."""

from spectrogrampredictor.answers import Alias
from spectrogrampredictor.calls import ModelName, named, once
from spectrogrampredictor.steps import Ask, Steps


def every() -> Steps[list[Alias]]:
    """List all names."""
    answer = yield Ask("GET", "/v1/aliases")
    return [Alias.of(said) for said in answer.json()["aliases"]]


def one(name: str) -> Steps[Alias]:
    """Look a name up."""
    answer = yield Ask("GET", _path(name))
    return Alias.of(answer.json(), answer.headers.get("ETag"))


def put(name: str, model: ModelName, seen: Alias | None) -> Steps[Alias]:
    """Give a name to a model."""
    digest = model if isinstance(model, str) else model.digest
    answer = yield Ask(
        "PUT", _path(name), fields={"digest": digest}, headers=_seen(seen), may_repeat=False
    )
    return Alias.of(answer.json(), answer.headers.get("ETag"))


def roll_back(name: str) -> Steps[Alias]:
    """Lead a name back to the model before."""
    answer = yield Ask("POST", f"{_path(name)}/rollback", fields={}, headers=once())
    return Alias.of(answer.json(), answer.headers.get("ETag"))


def remove(seen: Alias) -> Steps[None]:
    """Take a name away."""
    yield Ask("DELETE", _path(seen.name), headers=_seen(seen), may_repeat=False)


def _path(name: str) -> str:
    return f"/v1/aliases/{named(name)}"


def _seen(alias: Alias | None) -> dict[str, str]:
    if alias is None:
        return {"If-None-Match": "*"}
    if alias.version is None:
        raise ValueError("a name of a list has no version: look it up by itself first")
    return {"If-Match": alias.version}
