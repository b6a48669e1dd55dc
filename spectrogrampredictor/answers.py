"""What the server answers, as values. Members that are newer than this package are left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

State = Literal["registered", "promoted", "ready", "rejected", "disabled"]
_WAITING = ("registered", "promoted")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server knows.

    Attributes
    ----------
    digest : str
        SHA-256 of its file, in hexadecimal digits.
    state : str
        ``registered`` (its file is not there), ``promoted`` (it is being judged), ``ready``,
        ``rejected`` or ``disabled``.
    reason : str or None
        Why it is one of the last two.
    task : str or None
        What it is for.
    engine, precision : str or None
        What runs it.
    bytes : int or None
        Of its file.
    labels : tuple of str or None
        What its numbers mean.
    frontends : tuple of str
        What makes its tensors.
    aliases : tuple of str
        Names that lead to it.
    manifest : dict or None
        What was declared of it.
    registered, promoted, ready : datetime or None
        When it became that.
    """

    digest: str
    state: State
    reason: str | None
    task: str | None
    engine: str | None
    precision: str | None
    bytes: int | None
    labels: tuple[str, ...] | None
    frontends: tuple[str, ...]
    aliases: tuple[str, ...]
    manifest: dict[str, Any] | None
    registered: datetime | None
    promoted: datetime | None
    ready: datetime | None

    @property
    def is_settled(self) -> bool:
        """Whether the server has made up its mind."""
        return self.state not in _WAITING

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Model":
        """Take it from JSON."""
        labels = said["labels"]
        return cls(
            **{name: said[name] for name in ("digest", "state", "reason", "task", "engine")},
            **{name: said[name] for name in ("precision", "bytes", "manifest")},
            labels=None if labels is None else tuple(labels),
            frontends=tuple(said["frontends"]),
            aliases=tuple(said["aliases"]),
            registered=_instant(said["registered"]),
            promoted=_instant(said["promoted"]),
            ready=_instant(said["ready"]),
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some models, and the digest behind which the next page begins."""

    models: tuple[Model, ...]
    next: str | None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Page":
        """Take it from JSON."""
        return cls(tuple(map(Model.of, said["models"])), said["next"])


@dataclass(frozen=True, slots=True)
class Label:
    """One of the things that a model tells apart, and how sure it is."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output of a model.

    Attributes
    ----------
    shape : tuple of int
        With the batch axis, which is 1.
    data : tuple of float
        In row-major order.
    """

    shape: tuple[int, ...]
    data: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of a sound, or of tensors.

    Attributes
    ----------
    model : str
        Digest of the model that answered.
    engine, precision : str
        What ran it.
    labels : tuple of str
        What the numbers mean.
    probabilities : tuple of float
        One for each label; empty for a model of raw tensors.
    outputs : dict of str to Tensor
        Of a model of raw tensors.
    frontends : tuple of str
        What made the model's tensors.
    window : str or None
        Which part of the sound was used.
    windows : int
        How many windows the probabilities are the mean of.
    features : str or None
        ``client`` when the feature row came with the request, ``derived`` when it was computed.
    feature_values : dict of str to float
        The features by name, where they were asked for.
    saturated : bool
        Whether the answer is one-hot, as models answer that were fed unscaled numbers.
    receipt : str or None
        What the server signed, where it was asked for; see `verify_receipt`.
    body : bytes
        The answer as it came, which a receipt is about.
    """

    model: str
    engine: str
    precision: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    outputs: dict[str, Tensor]
    frontends: tuple[str, ...]
    window: str | None
    windows: int
    features: str | None
    feature_values: dict[str, float]
    saturated: bool
    receipt: str | None
    body: bytes

    @property
    def best(self) -> Label:
        """The most probable label."""
        return self.top(1)[0]

    def top(self, count: int) -> list[Label]:
        """Return the most probable labels, the first one first."""
        pairs = map(Label, self.labels, self.probabilities)
        return sorted(pairs, key=lambda pair: -pair.probability)[:count]

    @classmethod
    def of(cls, said: Mapping[str, Any], *, receipt: str | None, body: bytes) -> "Prediction":
        """Take it from JSON."""
        model = said["model"]
        outputs = {
            name: Tensor(tuple(told["shape"]), tuple(told["data"]))
            for name, told in said.get("outputs", {}).items()
        }
        return cls(
            model["digest"],
            model["engine"],
            model["precision"],
            labels=tuple(said.get("labels") or ()),
            probabilities=tuple(said.get("probabilities", ())),
            outputs=outputs,
            frontends=tuple(said.get("frontends", ())),
            window=said.get("window"),
            windows=said.get("windows", 1),
            features=said.get("features"),
            feature_values=said.get("feature_values") or {},
            saturated=said.get("saturated", False),
            receipt=receipt,
            body=body,
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a model.

    Attributes
    ----------
    name : str
        It.
    digest : str
        Of the model that it leads to.
    previous : str or None
        Of the one that it led to before.
    changed : datetime or None
        When it was moved.
    version : str or None
        What must be shown to move it, in double quotes; None where it stood in a list.
    """

    name: str
    digest: str
    previous: str | None
    changed: datetime | None
    version: str | None

    @classmethod
    def of(cls, said: Mapping[str, Any], version: str | None = None) -> "Alias":
        """Take it from JSON and its ETag."""
        changed = _instant(said["changed"])
        return cls(said["name"], said["digest"], said["previous"], changed, version)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and when it ends, in seconds since 1970."""

    token: str
    expires: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep did: digests that it promoted, files that it discarded or left."""

    promoted: tuple[str, ...]
    discarded: int
    left: int


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
