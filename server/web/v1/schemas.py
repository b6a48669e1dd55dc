"""What requests and answers of `/v1` hold: the types that check them, and that OpenAPI is made of.

Instants are texts as RFC 3339 has them; digests are 64 hexadecimal digits.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from quart import Response

from server.errors import MalformedRequest
from server.signing.keyfile import PATTERN

T = TypeVar("T")
_JSON = "application/json"
REF = "#/components/schemas/{name}"  # how one schema names another
# two objects that no member tells apart are more than msgspec describes as a union
_SOUND_ENTRY = {
    "anyOf": [{"$ref": REF.format(name=name)} for name in ("SoundPrediction", "SoundRefusal")]
}
Digits = Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$", description="A SHA-256.")]
Instant = Annotated[str, Meta(description="RFC 3339, UTC.")]
ScopeName = Literal["register", "upload", "sweep", "predict", "read", "admin"]
State = Literal["registered", "promoted", "ready", "rejected", "disabled"]


class ModelInfo(Struct, kw_only=True):
    """A model."""

    digest: Digits
    state: State
    reason: str | None
    task: str | None
    engine: str | None
    precision: str | None
    bytes: int | None
    labels: list[str] | None
    frontends: list[str]
    aliases: list[str]
    manifest: dict[str, Any] | None
    registered: Instant
    promoted: Instant | None
    ready: Instant | None


class ModelPage(Struct, kw_only=True):
    """Some models, in the order of their digests."""

    models: list[ModelInfo]
    next: Annotated[str | None, Meta(description="Where the next page begins, as `after`.")]


class ModelRegistration(Struct, forbid_unknown_fields=True):
    """A digest that may become a model."""

    digest: Digits
    manifest: dict[str, Any] | UnsetType = UNSET


class ModelChange(Struct, forbid_unknown_fields=True):
    """A model switched on or off."""

    state: Literal["enabled", "disabled"]
    reason: Annotated[str, Meta(max_length=500)] = "switched off by an administrator"


class AliasInfo(Struct, kw_only=True):
    """A name for a model."""

    name: str
    digest: Digits
    previous: Digits | None
    changed: Instant


class AliasList(Struct, kw_only=True):
    """Every name."""

    aliases: list[AliasInfo]


class AliasTarget(Struct, forbid_unknown_fields=True):
    """The model that a name is to stand for."""

    digest: Digits


class SweepReport(Struct, kw_only=True):
    """What a sweep did."""

    promoted: list[Digits]
    discarded: int
    left: int


class Nothing(Struct, forbid_unknown_fields=True):
    """An object without members."""


class TokenRequest(Struct, forbid_unknown_fields=True):
    """What a bearer token is to be good for."""

    scopes: Annotated[list[ScopeName], Meta(min_length=1)]
    # Python's `$` also holds before a line feed at the end
    models: Annotated[
        str, Meta(pattern=rf"^{PATTERN.pattern}(?!\n)$", description="Of digests.")
    ] = "*"
    ttl_s: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    max_bytes: Annotated[int, Meta(ge=1, le=1 << 53)] | UnsetType = UNSET


class Token(Struct, kw_only=True):
    """A bearer token."""

    token: str
    expires: Annotated[int, Meta(description="Seconds since 1970.")]


class AuditEntry(Struct, kw_only=True):
    """One thing that was done."""

    id: int
    at: Instant
    action: str
    model: Digits | None
    by: str
    detail: str | None


class AuditPage(Struct, kw_only=True):
    """Some of what was done, the latest first."""

    entries: list[AuditEntry]
    next: Annotated[int | None, Meta(description="Where the next page begins, as `before`.")]


class Answering(Struct, kw_only=True):
    """The model that answered."""

    digest: Digits
    task: str
    engine: str
    precision: str


class LabelProbability(Struct, kw_only=True):
    """A label and how probable it is."""

    label: str
    probability: float


class SoundPrediction(Struct, kw_only=True):
    """What a model says of a sound."""

    name: Annotated[str, Meta(description="Of the file; in a form only.")] | UnsetType = UNSET
    model: Answering
    labels: list[str]
    probabilities: list[float]
    top: list[LabelProbability] | UnsetType = UNSET
    frontends: list[str]
    window: Annotated[str, Meta(description="Which part of the sound was used.")]
    windows: (
        Annotated[int, Meta(description="How many windows the mean is of; with `windows=mean`.")]
        | UnsetType
    ) = UNSET
    features: Annotated[
        Literal["client", "derived"] | None, Meta(description="Where the feature row came from.")
    ]
    feature_values: dict[str, float] | UnsetType = UNSET
    saturated: Annotated[bool, Meta(description="Whether the answer is one-hot to six digits.")]


class SoundRefusal(Struct, kw_only=True):
    """Why there is no prediction for one sound of a form."""

    name: str
    problem: Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": REF.format(name="Problem")})]


class SoundPredictions(Struct, kw_only=True):
    """What a model says of the sounds of a form, in their order."""

    predictions: list[Annotated[Any, Meta(extra_json_schema=_SOUND_ENTRY)]]


class OutputTensor(Struct, kw_only=True):
    """Numbers in row-major order."""

    shape: list[int]
    data: list[float]


class TensorPrediction(Struct, kw_only=True):
    """What a model says of tensors."""

    model: Answering
    outputs: dict[str, OutputTensor]
    labels: list[str] | UnsetType = UNSET


class FrontendInfo(Struct, kw_only=True):
    """What a model may be fed with."""

    id: str
    kind: Literal["row", "picture"]
    description: str
    shape: Annotated[list[int], Meta(description="Where nobody asks for another.")]
    names: Annotated[list[str], Meta(description="Of the numbers of a row.")] | UnsetType = UNSET
    heights: Annotated[list[int], Meta(description="From, to.")] | UnsetType = UNSET
    widths: Annotated[list[int], Meta(description="From, to.")] | UnsetType = UNSET
    values: Annotated[list[float], Meta(description="From, to.")] | UnsetType = UNSET


class FrontendList(Struct, kw_only=True):
    """Every frontend."""

    frontends: list[FrontendInfo]


class FrontendTensor(Struct, kw_only=True):
    """What a frontend made of a sound, in row-major order."""

    frontend: str
    window: Annotated[str, Meta(description="Which part of the sound was used.")]
    shape: list[int]
    names: list[str] | UnsetType = UNSET
    data: list[float]


class PackedTensor(Struct, forbid_unknown_fields=True):
    """Numbers as little-endian bytes."""

    shape: list[int]
    base64: str


class TensorCall(Struct, forbid_unknown_fields=True):
    """Tensors of one row, as nested lists or packed."""

    inputs: dict[str, Annotated[list[Any], Meta(extra_json_schema={"items": {}})] | PackedTensor]


class Live(Struct, kw_only=True):
    """A process that lives."""

    live: bool


def take(fields: dict[str, Any], kind: type[T]) -> T:
    """Hold the fields of a request to a type.

    Raises
    ------
    MalformedRequest
        Naming the field that is wrong.
    """
    whole = {  # to JSON 1.0 is a whole number, too
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in fields.items()
    }
    try:
        return msgspec.convert(whole, kind)
    except msgspec.ValidationError as error:
        raise MalformedRequest(str(error)[:300]) from error


def number(fields: dict[str, Any], name: str, most: int) -> int | None:
    """Read a number of the query, from 1 on; None when it is left out.

    Raises
    ------
    MalformedRequest
        If it is another.
    """
    text = fields.get(name)
    if text is None:
        return None
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    if not 0 < value <= most:
        raise MalformedRequest(f"`{name}` is a whole number from 1 to {most}")
    return value


def answer(value: Struct, status: int = 200) -> Response:
    """Answer with a value as compact JSON."""
    return Response(msgspec.json.encode(value), status, content_type=_JSON)


def instant(at: float) -> str:
    """Write an instant, given in seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_or_none(at: float | None) -> str | None:
    """Write an instant that may not have come."""
    return None if at is None else instant(at)
