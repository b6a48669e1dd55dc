"""Who may predict now: so many calls in all, and three quarters of them for one caller or model."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from server.backlog import Backlog, share_of_one
from server.digest import Digest
from server.errors import Overload, TooManyRequests


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
        self._of_caller: defaultdict[str, Backlog] = defaultdict(Backlog)

    @property
    def in_flight(self) -> int:
        """How many calls hold a place."""
        return self._all.amount

    def check(self, caller: str) -> None:
        """Refuse a call before its body is read, when it would be refused afterwards.

        Raises
        ------
        Overload
            If every place is taken.
        TooManyRequests
            If this caller has its share of them.
        """
        if self._all.amount >= self._most:
            detail = f"{self._most} predictions are in flight"
            raise Overload(detail, retry_after_s=self._all.wait_s())
        theirs = self._of_caller.get(caller)
        if theirs is not None and theirs.amount >= self._share:
            detail = f"{self._share} predictions of one address are in flight"
            raise TooManyRequests(detail, retry_after_s=theirs.wait_s())

    @contextmanager
    def place(self, model: Digest, caller: str) -> Iterator[None]:
        """Hold a place while the block runs.

        Raises
        ------
        Overload, TooManyRequests
            As `check`; or if the model has its share of the places.
        """
        self.check(caller)
        of_model = self._of_model.get(model)
        if of_model is not None and of_model.amount >= self._share:
            detail = f"{self._share} predictions of this model are in flight"
            raise Overload(detail, retry_after_s=of_model.wait_s())
        held = (self._all, self._of_model[model], self._of_caller[caller])
        for backlog in held:
            backlog.begin()
        try:
            yield
        finally:
            for backlog in held:
                backlog.end()
            if not held[1].amount:
                del self._of_model[model]
            if not held[2].amount:
                del self._of_caller[caller]
