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
from server.web.v1.tus import LARGEST, PART

_UPLOAD = "/v1/uploads/{upload}"
_PATTERN = (
    "^(sha1 [A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=|sha256 [A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$"
)
_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_CHECKSUMS: dict[str, Any] = {"type": "string", "pattern": _PATTERN}
_METHODS: dict[str, Any] = {"type": "string", "enum": ["PATCH", "DELETE"]}
_TUS = (UnknownTusVersion,)
_ADDING = (
    *(UploadNotFound, WrongOffset, UploadTakenOver, ChecksumMismatch, WrongMediaType),
    *(*_TUS, DigestMismatch, StorageFull, TooLarge),
)
_VERSION = Parameter(
    "Tus-Resumable",
    "The version of tus that the client speaks.",
    {"type": "string", "enum": ["1.0.0"]},
    place="header",
    is_required=True,
)
_CHECKSUM = Parameter(
    *("Upload-Checksum", "`sha1` or `sha256`, in base64.", _CHECKSUMS), place="header"
)

UPLOAD_OPERATIONS = (
    Operation(
        "POST",
        "/v1/uploads",
        "Begin a model file that comes in parts, by tus 1.0.0.",
        Scope.UPLOAD,
        media=(PART,),
        needs_body=False,
        answers={201: None},
        problems=(
            *(*_TUS, ModelNotFound, TooLarge, StorageFull),
            *(DigestMismatch, ChecksumMismatch, WrongMediaType),  # of bytes that come with it
        ),
        parameters=(
            _VERSION,
            Parameter(
                *("Upload-Length", "Bytes of the file.", _NUMBER),
                place="header",
                is_required=True,
            ),
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
        media=(PART,),
        answers={204: None},
        problems=_ADDING,
        parameters=(
            _VERSION,
            Parameter(
                *("Upload-Offset", "Where the part begins.", _NUMBER),
                place="header",
                is_required=True,
            ),
            _CHECKSUM,
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
        media=(PART,),
        needs_body=False,
        answers={204: None},
        problems=(*_ADDING, MethodNotAllowed),
        parameters=(
            _VERSION,
            Parameter(
                *("X-HTTP-Method-Override", "PATCH or DELETE.", _METHODS),
                place="header",
                is_required=True,
            ),
            Parameter("Upload-Offset", "Where the part begins.", _NUMBER, place="header"),
            _CHECKSUM,
        ),
    ),
)
