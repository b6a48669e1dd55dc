"""How an answer of a prediction is wanted: options in the query, in every dialect.

::

    receipt=1     with a receipt in its head
    top=3         with the most probable labels, so many of them
    features=1    with the feature row

They change what is told of a prediction, never what is predicted from: so dialect 1 need not sign
them. `windows=mean` is no such option but a field, as `ext` is: it stands in the query in dialect
2, and in the header that is signed in dialect 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.errors import MalformedRequest, UnusableInput
from server.web.connection import StreamedRequest
from server.web.receipts import OPTION, is_wanted
from server.web.v1.schemas import number

NAMES = frozenset({OPTION, "top", "features"})
WINDOWS = "windows"
_MIDDLE, _MEAN = "middle", "mean"
WINDOWS_VALUES = (_MIDDLE, _MEAN)
MAX_TOP = 1000


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
    names_windows : bool
        Whether the query names `windows`.
    """

    receipt: bool = False
    top: int | None = None
    features: bool = False
    names_windows: bool = False

    def check_tensors(self) -> None:
        """Pass for a model that takes tensors.

        Raises
        ------
        UnusableInput
            If labels, features or windows are wanted of it.
        """
        if self.top is not None or self.features or self.names_windows:
            raise UnusableInput("`top`, `features` and `windows` are for models that take a sound")

    def is_mean(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether the mean over all windows is wanted, by the fields of a request.

        Raises
        ------
        MalformedRequest
            If `windows` is unknown or unsigned, or the features are wanted as well.
        """
        value = fields.get(WINDOWS)
        if value is None and self.names_windows:
            raise MalformedRequest(
                "`windows` must be signed: in dialect 1 it is a field of the header Signed-Request"
            )
        if value not in (None, *WINDOWS_VALUES):
            raise MalformedRequest(f"`{WINDOWS}` is {_MIDDLE} or {_MEAN}")
        if value == _MEAN and self.features:
            raise MalformedRequest("`features` tells the row of one window: not with windows=mean")
        return bool(value == _MEAN)


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
    return Options(
        *(is_wanted(asked), number(given, "top", MAX_TOP), _flag(given, "features")),
        names_windows=WINDOWS in asked.args,
    )


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "0")
    if value not in ("0", "1"):
        raise MalformedRequest(f"`{name}` is 1 or 0")
    return value == "1"
