"""What somebody wants done, read from a request and held against the contract of its task.

::

    task, model     one of them at least; without a model the task's baseline answers
    ext, priority   at will
    anything else   a parameter of the task
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.digest import Digest
from server.errors import MalformedRequest
from server.inference.contracts import Contracts
from server.inference.parameters import file_names, parameters_of
from server.inference.predictor import Predictor, ReadyModel
from server.inference.task_runs import check_model
from server.jobs.job import Asked
from server.jobs.work import manifest_digest
from server.repository.aliases import Aliases
from server.signing.principal import Principal, Scope
from server.web.naming import model_named

MOST_PRIORITY = 10
_OURS = ("task", "model", "ext", "priority")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done with a sound that is still to come.

    Attributes
    ----------
    contract : mapping
        Of the task.
    model : ReadyModel or None
        None: the baseline answers.
    parameters : mapping
        Every parameter of the contract.
    ext : str or None
        The format that the caller named.
    priority : int
        Greater ones first.
    """

    contract: Mapping[str, Any]
    model: ReadyModel | None
    parameters: Mapping[str, Any]
    ext: str | None
    priority: int

    def of_sound(self, digest: Digest, size: int) -> Asked:
        """Return what is to be done, with its sound."""
        model = self.model
        return Asked(
            task=self.contract["name"],
            version=self.contract["version"],
            model=None if model is None else model.digest,
            manifest=None if model is None else manifest_digest(model),
            baseline=self.contract["baseline"] if model is None else "",
            parameters=self.parameters,
            sound=digest,
            sound_bytes=size,
            ext=self.ext,
            files=file_names(self.contract, self.parameters),
        )


class JobRequests:
    """Reads what is wanted.

    Parameters
    ----------
    contracts : callable
        Returns what can be asked for.
    aliases : Aliases
        Say which models names stand for.
    predictor : Predictor
        Waits for models.
    """

    def __init__(
        self,
        contracts: Callable[[], Awaitable[Contracts]],
        aliases: Aliases,
        predictor: Predictor,
    ) -> None:
        self._contracts = contracts
        self._aliases = aliases
        self._predictor = predictor

    async def read(self, fields: Mapping[str, Any], principal: Principal) -> Wanted:
        """Read what is wanted.

        Raises
        ------
        MalformedRequest
            Naming the field that is wrong, and what is allowed.
        ServerError
            If the model cannot do it, or the caller may not ask for it.
        """
        given = {name: value for name, value in fields.items() if name not in _OURS}
        task, model_name, ext = (_text(fields, name) for name in ("task", "model", "ext"))
        priority = _priority(fields, principal)
        model = None
        if model_name is not None:
            digest = model_named(self._aliases, model_name, principal, Scope.PREDICT)
            model = await self._predictor.ready(digest)
            task = task or str(model.binding["task"])
        contract = self._contract(await self._contracts(), task)
        if model is not None:
            check_model(contract["name"], model)
        elif not contract["baseline"]:
            raise MalformedRequest(f"the task {contract['name']!r} needs a `model`")
        return Wanted(contract, model, parameters_of(contract, given), ext, priority)

    @staticmethod
    def _contract(contracts: Contracts, task: str | None) -> Mapping[str, Any]:
        known = [name for name, one in contracts.tasks.items() if one["answers"] == "job"]
        if task not in known:
            raise MalformedRequest(f"`task` is one of {sorted(known)}")
        return contracts.tasks[task]


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedRequest(f"`{name}` is a text")
    return value


def _priority(fields: Mapping[str, Any], principal: Principal) -> int:
    text = str(fields.get("priority", 0))
    value = int(text) if text.lstrip("-").isdigit() and text.isascii() and len(text) < 4 else None
    if value is None or not -MOST_PRIORITY <= value <= MOST_PRIORITY:
        raise MalformedRequest(f"`priority` is from {-MOST_PRIORITY} to {MOST_PRIORITY}")
    if value > 0:  # everybody else waits for it
        principal.require(Scope.ADMIN)
    return value
