"""What a server refuses: one class for each slug, by the kinds of `problem`.

A class is named as its slug: ``model-not-ready`` is `ModelNotReady`, a `Busy`.
"""

from spectrogrampredictor.problem import BadModel as BadModel
from spectrogrampredictor.problem import BadRequest as BadRequest
from spectrogrampredictor.problem import BadSound as BadSound
from spectrogrampredictor.problem import Busy as Busy
from spectrogrampredictor.problem import Conflict as Conflict
from spectrogrampredictor.problem import Forbidden as Forbidden
from spectrogrampredictor.problem import Problem as Problem
from spectrogrampredictor.problem import ServerFault as ServerFault
from spectrogrampredictor.problem import Unknown as Unknown


class MalformedRequest(BadRequest):
    """A field is missing, unknown or of another kind."""


class BadDigest(BadRequest):
    """A digest that is not 64 hexadecimal digits."""


class BadBase64(BadRequest):
    """A field that is not standard base64."""

    slug = "bad-base64"


class BadExtension(BadRequest):
    """An extension that names no sound format."""


class MalformedForm(BadRequest):
    """A form that cannot be read."""


class IncompleteBody(BadRequest):
    """The connection ended before the body did."""


class BadHttpRequest(BadRequest):
    """A request that the rules of HTTP forbid."""


class HeadersTooLarge(BadRequest):
    """More headers than the server reads."""


class BadEncoding(BadRequest):
    """The body is not what its encoding says."""


class UnknownEncoding(BadRequest):
    """An encoding that the server does not read."""


class NotAcceptable(BadRequest):
    """No form of the answer that the client takes."""


class WrongMediaType(BadRequest):
    """A body of another type than the path takes."""


class UnknownTusVersion(BadRequest):
    """A version of tus that the server does not speak."""


class ChecksumMismatch(BadRequest):
    """A part of an upload that is not what its checksum says."""


class IdempotencyConflict(BadRequest):
    """An `Idempotency-Key` that was used for another request."""


class MethodNotAllowed(BadRequest):
    """A path that does not take this method."""


class BodyTooSlow(BadRequest):
    """The body arrived too slowly."""


class BodyTooLarge(BadRequest):
    """The body is over its limit; `members["limit"]` says in bytes."""


class BadSignature(Forbidden):
    """The signature, or the token, is missing or not good."""


class ScopeMissing(Forbidden):
    """A good key that is not allowed to do this; `members["scope"]` is what it lacks."""


class NotFound(Unknown):
    """Nothing is served at this path."""


class ModelNotFound(Unknown):
    """No model with this digest was registered."""


class AliasNotFound(Unknown):
    """Nobody has given this name to a model."""


class FrontendNotFound(Unknown):
    """There is no such frontend."""


class UploadNotFound(Unknown):
    """There is no such upload, or it is over."""


class JobNotFound(Unknown):
    """No such job, or it is over and forgotten, or another key's."""


class ArtifactNotFound(Unknown):
    """The job makes no file of this name."""


class ModelInUse(Conflict):
    """Names lead to the model."""


class WrongOffset(Conflict):
    """The upload stands elsewhere; `members["offset"]` says where."""


class UploadTakenOver(Conflict):
    """A later request goes on with the upload."""


class PreconditionFailed(Conflict):
    """It was changed meanwhile: read it again."""


class PreconditionRequired(Conflict):
    """The change must say what it saw."""


class JobNotDone(Conflict):
    """The job has no result, or none yet."""


class RangeNotSatisfiable(Conflict):
    """The range begins behind the end of the artifact."""


class ModelNotUploaded(Conflict):
    """The digest is registered, its file is not there."""


class ModelDisabled(Conflict):
    """The model was switched off."""


class ModelRejected(BadModel):
    """The file is no model that can be served; `detail` says why."""


class ModelFormat(BadModel):
    """The file is of a kind that is not served, such as a SavedModel."""


class DigestMismatch(BadModel):
    """The file that was sent is not the one that was named."""


class BadManifest(BadModel):
    """The manifest does not have the form that it should."""


class EmptySound(BadSound):
    """No bytes, or a sound without samples."""


class GitLfsPointer(BadSound):
    """A Git LFS pointer in place of the file."""


class UnreadableSound(BadSound):
    """No sound of a format that the server reads."""


class TruncatedSound(BadSound):
    """The file holds less than its header declares."""


class WrongExtension(BadSound):
    """The sound is of another format than was said."""


class BadSampleRate(BadSound):
    """The sample rate is outside 8 to 192 kHz."""


class TooManyChannels(BadSound):
    """More than 8 channels."""


class SoundTooShort(BadSound):
    """Less sound than the model needs."""


class SoundTooLong(BadSound):
    """More sound than the server decodes for one call."""


class SoundNotFinite(BadSound):
    """The sound holds samples that are no numbers."""


class UnusableInput(BadSound):
    """The input can be read, but the model cannot use it."""


class BadFeatureRow(BadSound):
    """The CSV does not fit; `members["missing"]` and `["extra"]` name the columns."""


class ServerBusy(Busy):
    """Too much at once."""


class TooManyRequests(Busy):
    """As much of this caller is under way as one caller may have."""


class QuotaExceeded(Busy):
    """The key has used up what it may ask for in a while."""


class ModelNotReady(Busy):
    """The model is still being judged or loaded."""


class MemoryShort(Busy):
    """There is not enough memory for the model."""


class StorageFull(Busy):
    """There is no room for the upload."""


class NoSandbox(Busy):
    """The machine has no sandbox to run models in."""


class InternalError(ServerFault):
    """A fault of the server."""


class WorkerFailed(ServerFault):
    """The process that held this request failed; another is there for the next."""


class DeadlinePassed(ServerFault):
    """The prediction was not ready in time."""
