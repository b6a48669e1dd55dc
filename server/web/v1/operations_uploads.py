"""The operations of uploads in parts."""

from typing import Any

from server.errors import (
    DigestMismatch,
    MethodNotAllowed,
    ModelNotFound,
    StorageFull,
    TooLarge,
)
from server.signing.principal import Scope
from server.upload_errors import (
    ChecksumMismatch,
    UnknownTusVersion,
    UploadNotFound,
    UploadTakenOver,
    WrongMediaType,
    WrongOffset,
)
from server.web.v1.operation import Operation, Parameter

_UPLOAD = "/v1/uploads/{upload}"
_PART = "application/offset+octet-stream"
_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0}
_TUS = (UnknownTusVersion,)
_ADDING = (
    *(UploadNotFound, WrongOffset, UploadTakenOver, ChecksumMismatch, WrongMediaType),
    *(*_TUS, DigestMismatch, StorageFull),
)
_VERSION = Parameter(
    "Tus-Resumable",
    "The version of tus that the client speaks.",
    {"type": "string", "enum": ["1.0.0"]},
    place="header",
    is_required=True,
)

UPLOAD_OPERATIONS = (
    Operation(
        "POST",
        "/v1/uploads",
        "Begin a model file that comes in parts, by tus 1.0.0.",
        Scope.UPLOAD,
        media=(_PART,),
        answers={201: None},
        problems=(
            *(*_TUS, ModelNotFound, TooLarge, StorageFull),
            *(DigestMismatch, ChecksumMismatch, WrongMediaType),  # of bytes that come with it
        ),
        parameters=(
            _VERSION,
            Parameter("Upload-Length", "Bytes of the file.", _NUMBER, place="header"),
            Parameter("Upload-Metadata", "`sha256`, in base64.", place="header"),
        ),
    ),
    Operation(
        "HEAD",
        _UPLOAD,
        "Tell where an upload stands.",
        Scope.UPLOAD,
        answers={200: None},
        problems=(UploadNotFound, *_TUS),
        parameters=(_VERSION,),
    ),
    Operation(
        "PATCH",
        _UPLOAD,
        "Go on with an upload; with the last byte it is settled.",
        Scope.UPLOAD,
        media=(_PART,),
        answers={204: None},
        problems=_ADDING,
        parameters=(
            _VERSION,
            Parameter("Upload-Offset", "Where the part begins.", _NUMBER, place="header"),
            Parameter("Upload-Checksum", "`sha1` or `sha256`, in base64.", place="header"),
        ),
    ),
    Operation(
        "DELETE",
        _UPLOAD,
        "Forget an upload.",
        Scope.UPLOAD,
        answers={204: None},
        problems=(UploadNotFound, *_TUS),
        parameters=(_VERSION,),
    ),
    Operation(
        "POST",
        _UPLOAD,
        "The same for clients that have GET and POST only: `X-HTTP-Method-Override`.",
        Scope.UPLOAD,
        media=(_PART,),
        answers={204: None},
        problems=(*_ADDING, MethodNotAllowed),
        parameters=(
            _VERSION,
            Parameter("X-HTTP-Method-Override", "PATCH or DELETE.", place="header"),
        ),
    ),
)
