"""Refusals of uploads that come in parts: branches of the tree in `server.errors`."""

from server.errors import MalformedRequest, NotFound, ServerError


class WrongMediaType(MalformedRequest):
    """A body of another type than the path takes."""

    status, slug, title = 415, "wrong-media-type", "The body is of another type"


class UnknownTusVersion(MalformedRequest):
    """A version of the upload protocol that is not spoken."""

    status, slug, title = 412, "unknown-tus-version", "The version of tus is not known"


class UploadNotFound(NotFound):
    """No such upload, or it is over, or somebody else's."""

    slug, title = "upload-not-found", "There is no such upload"


class WrongOffset(ServerError):
    """A part that does not begin where the upload stands."""

    status, slug, title = 409, "wrong-offset", "The upload stands elsewhere"


class UploadTakenOver(ServerError):
    """A later request goes on with the upload."""

    status, slug, title = 423, "upload-taken-over", "A later request goes on with the upload"


class ChecksumMismatch(ServerError):
    """A part that is not what its checksum says; nothing of it was kept."""

    status, slug, title = 460, "checksum-mismatch", "The part does not have its checksum"
