"""Who may predict now: so many calls in all, three quarters of them for one address, key, model."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from server.backlog import Backlog, share_of_one
from server.digest import Digest
from server.errors import Overload, TooManyRequests

_Name = TypeVar("_Name")
_MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose share of the places a call takes.

    Attributes
    ----------
    address : str
        Where it comes from.
    key : str or None
        The id of its key; None before it is known, and for the token that everybody shares.
    """

    address: str
    key: str | None = None


class Admission:
    """Places for predictions.

    Parameters
    ----------
    most : int
        Calls at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = share_of_one(most)
        self._all = Backlog()
        self._of_model: defaultdict[Digest, Backlog] = defaultdict(Backlog)
        self._of_asker: defaultdict[tuple[str, str], Backlog] = defaultdict(Backlog)

    @property
    def in_flight(self) -> int:
        """How many calls hold a place."""
        return self._all.amount

    @property
    def share_of_one(self) -> int:
        """How many calls of one address, key or model may hold a place."""
        return self._share

    def check(self, asker: Asker, model: Digest | None = None) -> None:
        """Refuse a call before its body is read, when it would be refused afterwards.

        Raises
        ------
        Overload
            If every place is taken, or the model has its share of them.
        TooManyRequests
            If the address or the key has its share of them.
        """
        if self._all.amount >= self._most:
            detail = f"{self._most} predictions are in flight"
            raise Overload(detail, retry_after_s=self._all.refuse())
        for kind, name in _claims(asker):
            theirs = self._of_asker.get((kind, name))
            if theirs is not None and theirs.amount >= self._share:
                detail = f"{self._share} predictions of one {kind} are in flight"
                raise TooManyRequests(detail, retry_after_s=theirs.refuse())
        of_model = None if model is None else self._of_model.get(model)
        if of_model is not None and of_model.amount >= self._share:
            detail = f"{self._share} predictions of this model are in flight"
            raise Overload(detail, retry_after_s=of_model.refuse())

    @contextmanager
    def place(self, model: Digest | None, asker: Asker) -> Iterator[None]:
        """Hold a place while the block runs; without a model where none is run.

        Raises
        ------
        Overload, TooManyRequests
            As `check`.
        """
        self.check(asker, model)
        claims = _claims(asker)
        held = [self._all, *(self._of_asker[claim] for claim in claims)]
        if model is not None:
            held.append(self._of_model[model])
        for backlog in held:
            backlog.begin()
        try:
            yield
        finally:
            for backlog in held:
                backlog.end()
            if model is not None:
                _rest(self._of_model, model)
            for claim in claims:
                _rest(self._of_asker, claim)


def _rest(backlogs: dict[_Name, Backlog], name: _Name) -> None:
    """Keep what is idle, for its rate and for who was told to come back; of many the latest."""
    if backlogs[name].amount:
        return
    backlogs[name] = backlogs.pop(name)
    if len(backlogs) > _MOST_KEPT:
        del backlogs[next(name for name, backlog in backlogs.items() if not backlog.amount)]


def _claims(asker: Asker) -> list[tuple[str, str]]:
    claims = [("address", asker.address)]
    return claims if asker.key is None else [*claims, ("key", asker.key)]
