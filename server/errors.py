"""Every refusal that the server tells a client about, in one tree.

A class says *what* is wrong: status, slug (a section of docs/problems.md), title. An instance says
*where*, in a ``detail`` that helps the sender and shows no key, path of the machine or trace.

::

    ServerError ................. 500
    |-- MalformedRequest ........ 400   cannot be read as what the route takes
    |-- BadSignature ............ 401   unsigned, altered, or of another key; never says which
    |-- ScopeMissing ............ 403   a good key that may not do this
    |-- NotFound ................ 404   no such route, no such model
    |-- ModelState .............. 409   a known model that cannot answer as it is
    |-- TooLarge ................ 413   over a limit that the server counted itself
    |-- UnreadableSound ......... 415   the bytes are no sound that can be decoded whole
    |-- UnusableInput ........... 422   readable, but not what the task needs
    |-- HeadersTooLarge ......... 431   more or longer headers than any request needs
    |-- BadModel ................ 422   a file that is no model, or not one for its task
    |-- WorkerFailed ............ 502   the model's process died or answered nonsense
    |-- SandboxMissing .......... 503   nothing here would hold what others made
    |-- Overload ................ 503   come back after `retry_after_s`
    |   `-- TooManyRequests ..... 429   this caller has its share already
    `-- DeadlinePassed .......... 504   the answer would have come too late
"""

from typing import ClassVar


class ServerError(Exception):
    """The root of the tree, and the answer to a fault of ours.

    Parameters
    ----------
    detail : str, optional
        One sentence for the sender; the title when left out.
    **members : object
        More members of the problem (RFC 9457 section 3.2), JSON values only.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The server failed on this request"

    def __init__(self, detail: str = "", **members: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.members = members


class MalformedRequest(ServerError):
    """The signed payload is not the JSON object that the route takes."""

    status, slug, title = 400, "malformed-request", "The request could not be read"


class BadDigest(MalformedRequest):
    """A model digest that is not 64 hexadecimal digits."""

    slug, title = "bad-digest", "Not a SHA-256 digest"


class BadBase64(MalformedRequest):
    """A field that is not standard base64."""

    slug, title = "bad-base64", "A field is not standard base64"


class BadExtension(MalformedRequest):
    """A sound extension that is no lower-case name of a format we read."""

    slug, title = "bad-extension", "Not the extension of a sound format"


class MalformedForm(MalformedRequest):
    """A multipart body that does not follow RFC 7578, or carries the wrong parts."""

    slug, title = "malformed-form", "The upload form could not be read"


class IncompleteBody(MalformedRequest):
    """The connection ended before the body did."""

    slug, title = "incomplete-body", "The body ended early"


class BadEncoding(MalformedRequest):
    """A body that is not what `Content-Encoding` says, or not all of it."""

    slug, title = "bad-encoding", "The body is not encoded as its head says"


class UnknownEncoding(BadEncoding):
    """A `Content-Encoding` that this path does not read."""

    status, slug, title = 415, "unknown-encoding", "The body is encoded in an unknown way"


class MethodNotAllowed(MalformedRequest):
    """A known path asked with a method that it does not take."""

    status, slug, title = 405, "method-not-allowed", "The path does not take this method"


class NotAcceptable(MalformedRequest):
    """An answer that is wanted in a form that the route does not have."""

    status, slug, title = 406, "not-acceptable", "The answer is not made in this form"


class TooSlow(MalformedRequest):
    """A body that arrives slower than the minimum rate."""

    status, slug, title = 408, "body-too-slow", "The body arrived too slowly"


class BadHttp(MalformedRequest):
    """A request that the HTTP rules forbid, or a header that the server does not serve."""

    slug, title = "bad-http-request", "The HTTP request is not valid"


class BadSignature(ServerError):
    """The signature is missing, altered, too old, or of another key; `reason` is for the log."""

    status, slug, title = 401, "bad-signature", "The signature is missing or not valid"

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason


class ScopeMissing(ServerError):
    """The key is good, but not for this."""

    status, slug, title = 403, "scope-missing", "The key is not allowed to do this"


class NotFound(ServerError):
    """No route answers at this path."""

    status, slug, title = 404, "not-found", "Nothing is served at this path"


class ModelNotFound(NotFound):
    """The digest was never registered."""

    slug, title = "model-not-found", "No model with this digest is registered"


class AliasNotFound(NotFound):
    """Nobody has given this name to a model."""

    slug, title = "alias-not-found", "No model has this name"


class FrontendNotFound(NotFound):
    """No frontend has this id."""

    slug, title = "frontend-not-found", "No frontend has this id"


class ModelState(ServerError):
    """A registered model that cannot answer as it is."""

    status, slug, title = 409, "model-not-uploaded", "The model is registered, its file is not here"


class ModelInUse(ModelState):
    """A model that names lead to cannot be removed."""

    slug, title = "model-in-use", "The model has names that lead to it"


class PreconditionFailed(ServerError):
    """What was to be changed is not as the client saw it."""

    status, slug, title = 412, "precondition-failed", "It was changed meanwhile"


class PreconditionRequired(ServerError):
    """A change that must say what it saw."""

    status, slug, title = 428, "precondition-required", "Say what you saw: If-Match"


class ModelDisabled(ModelState):
    """An operator, or three crashes in a row, switched the model off."""

    slug, title = "model-disabled", "The model is disabled"


class TooLarge(ServerError):
    """The body is over the limit of its route."""

    status, slug, title = 413, "body-too-large", "The body is larger than this path takes"


class HeadersTooLarge(ServerError):
    """More headers, or more bytes of them, than the server reads."""

    status, slug, title = 431, "headers-too-large", "The headers of the request are too large"


class UnusableInput(ServerError):
    """The input can be read, but the task cannot use it."""

    status, slug, title = 422, "unusable-input", "The input does not fit the task"


class BadManifest(UnusableInput):
    """A manifest that does not follow its schema."""

    slug, title = "bad-manifest", "The manifest is not valid"


class IdempotencyConflict(ServerError):
    """An `Idempotency-Key` that was used for another request."""

    status, slug = 422, "idempotency-conflict"
    title = "The Idempotency-Key was used for another request"


class BadModel(ServerError):
    """A file that the server will not load, with the reason."""

    status, slug, title = 422, "model-rejected", "The model was rejected"


class DigestMismatch(BadModel):
    """The bytes that were sent are not those that the path names."""

    slug, title = "digest-mismatch", "The file is not the one that the digest names"


class WorkerFailed(ServerError):
    """The process that held the request died or answered nonsense; the request failed alone."""

    status, slug, title = 502, "worker-failed", "The process that held this request failed"
    cause = ""  # why one ended that was being started


class SandboxMissing(ServerError):
    """The machine has no sandbox, and nobody has said that models run without one."""

    status, slug, title = 503, "no-sandbox", "This server has no sandbox to run models in"


class Overload(ServerError):
    """Too much at once; come back after `retry_after_s` seconds (the ``Retry-After`` header)."""

    status, slug, title = 503, "server-busy", "The server is busy"

    def __init__(self, detail: str = "", *, retry_after_s: int = 1, **members: object) -> None:
        super().__init__(detail, **members)
        self.retry_after_s = retry_after_s


class TooManyRequests(Overload):
    """One caller has as much under way as one caller may."""

    status, slug, title = 429, "too-many-requests", "Too many requests of one caller at once"


class QuotaExceeded(Overload):
    """The key has asked for as much as it may in a while."""

    status, slug, title = 429, "quota-exceeded", "The key has used up its quota"


class ModelNotReady(Overload):
    """The model was promoted and is still being judged or loaded."""

    slug, title = "model-not-ready", "The model is being made ready"


class MemoryShort(Overload):
    """The model does not fit into the memory that models may take."""

    status, slug, title = 507, "memory-short", "There is not enough memory for the model"


class StorageFull(Overload):
    """The disk or the quota for staged uploads is short."""

    status, slug, title = 507, "storage-full", "There is no room for the upload"


class DeadlinePassed(ServerError):
    """The prediction took longer than predictions may; its work was dropped."""

    status, slug, title = 504, "deadline-passed", "The prediction was not ready in time"


def every_error(root: type[ServerError] = ServerError) -> dict[str, type[ServerError]]:
    """Return the classes of the tree by slug."""
    found = {root.slug: root}
    for child in root.__subclasses__():
        found |= every_error(child)
    return found
