"""How an answer of a prediction is wanted: options in the query, in every dialect.

::

    receipt=1     with a receipt in its head
    top=3         with the most probable labels, so many of them
    features=1    with the feature row

They change what is told of a prediction, never what is predicted from: so dialect 1 need not sign
them.
"""

from dataclasses import dataclass

from server.errors import MalformedRequest, UnusableInput
from server.web.connection import StreamedRequest
from server.web.v1.schemas import number

NAMES = frozenset({"receipt", "top", "features"})
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """What an answer holds beside the prediction.

    Attributes
    ----------
    receipt : bool
        A receipt.
    top : int or None
        So many of the most probable labels.
    features : bool
        The feature row.
    """

    receipt: bool = False
    top: int | None = None
    features: bool = False

    def check_tensors(self) -> None:
        """Pass for a model that takes tensors.

        Raises
        ------
        UnusableInput
            If labels or features are wanted of it.
        """
        if self.top is not None or self.features:
            raise UnusableInput("`top` and `features` are told of models that take a sound")


_NONE = Options()


def options_of(asked: StreamedRequest) -> Options:
    """Read the options of a request.

    Raises
    ------
    MalformedRequest
        If one of them is none.
    """
    if not asked.query_string:
        return _NONE
    found = {name: asked.args.getlist(name) for name in NAMES if name in asked.args}
    for name, values in found.items():
        if len(values) > 1:
            raise MalformedRequest(f"the query names `{name}` twice")
    given = {name: values[0] for name, values in found.items()}
    return Options(_flag(given, "receipt"), number(given, "top", _MOST), _flag(given, "features"))


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "0")
    if value not in ("0", "1"):
        raise MalformedRequest(f"`{name}` is 1 or 0")
    return value == "1"
