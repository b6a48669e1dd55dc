"""Every operation of the API port that is described in OpenAPI; a test holds it to the routes."""

from typing import Any

from server.errors import (
    AliasNotFound,
    BadManifest,
    DigestMismatch,
    IdempotencyConflict,
    ModelInUse,
    ModelNotFound,
    ModelState,
    PreconditionFailed,
    PreconditionRequired,
    StorageFull,
    TooLarge,
)
from server.repository.catalog import MAX_LISTED
from server.signing.principal import Scope
from server.web.v1.audit import LARGEST_ID
from server.web.v1.once import HEADER
from server.web.v1.operation import DIGITS, FILE, WHOLE, Operation, Parameter
from server.web.v1.operations_jobs import JOB_OPERATIONS
from server.web.v1.operations_sounds import SOUND_OPERATIONS
from server.web.v1.operations_uploads import UPLOAD_OPERATIONS
from server.web.v1.schemas import (
    AliasInfo,
    AliasList,
    AliasTarget,
    AuditPage,
    Live,
    ModelChange,
    ModelInfo,
    ModelPage,
    ModelRegistration,
    Nothing,
    SweepReport,
    Token,
    TokenRequest,
)

_KEY_SCHEMA: dict[str, Any] = {"type": "string", "pattern": "^[!-~]{1,255}$"}
_TAG = '^([*]|(W/)?"[!#-~]*")$'
_STATES = ["registered", "promoted", "ready", "rejected", "disabled"]
_LIMIT = Parameter("limit", "How many there are on a page.", WHOLE | {"maximum": MAX_LISTED})
_IF_MATCH = Parameter(
    *("If-Match", "The `ETag` that was seen.", {"type": "string", "pattern": _TAG}), place="header"
)
_IF_NONE_MATCH = Parameter(
    *("If-None-Match", "`*`: there must be none yet.", {"type": "string", "enum": ["*"]}),
    place="header",
)
_ONCE = Parameter(
    HEADER, "The same key within a day: the first answer again.", _KEY_SCHEMA, place="header"
)
_ID = WHOLE | {"maximum": LARGEST_ID}
_MODEL = "/v1/models/{name}"
_NAMED = "/v1/aliases/{name}"

_MODEL_OPERATIONS = (
    Operation(
        "GET",
        "/v1/models",
        "List models, in the order of their digests.",
        Scope.READ,
        answers={200: ModelPage},
        parameters=(
            _LIMIT,
            Parameter("after", "Begin behind this digest.", DIGITS),
            Parameter("state", "Only those.", {"type": "string", "enum": _STATES}),
        ),
    ),
    Operation(
        "POST",
        "/v1/models",
        "Let a digest become a model, with a manifest where one is given.",
        Scope.REGISTER,
        body=ModelRegistration,
        answers={201: ModelInfo, 200: ModelInfo},
        problems=(BadManifest, IdempotencyConflict),
        parameters=(_ONCE,),
    ),
    Operation(
        "GET",
        _MODEL,
        "Show a model, named by its digest or an alias.",
        Scope.READ,
        answers={200: ModelInfo, 304: None},
        problems=(ModelNotFound,),
        parameters=(Parameter("If-None-Match", "The `ETag` that was seen.", place="header"),),
    ),
    Operation(
        "PATCH",
        _MODEL,
        "Switch a model on or off.",
        Scope.ADMIN,
        body=ModelChange,
        answers={200: ModelInfo},
        problems=(ModelNotFound, ModelState),
    ),
    Operation(
        "DELETE",
        _MODEL,
        "Remove a model and its files.",
        Scope.ADMIN,
        answers={204: None},
        problems=(ModelNotFound, ModelInUse),
    ),
    Operation(
        "HEAD",
        _MODEL + "/file",
        "Tell whether the file of a model is here.",
        Scope.READ,
        answers={200: None},
        problems=(ModelNotFound,),
    ),
    Operation(
        "PUT",
        _MODEL + "/file",
        "Send the file of a registered model, unless it is here.",
        Scope.UPLOAD,
        media=(FILE,),
        answers={201: ModelInfo, 200: ModelInfo},
        problems=(ModelNotFound, DigestMismatch, TooLarge, StorageFull),
    ),
    Operation("GET", "/v1/aliases", "List every name.", Scope.READ, answers={200: AliasList}),
    Operation(
        "GET",
        _NAMED,
        "Show a name; its version is the `ETag`.",
        Scope.READ,
        answers={200: AliasInfo},
        problems=(AliasNotFound,),
    ),
    Operation(
        "PUT",
        _NAMED,
        "Give a name to a model, or move it.",
        Scope.ADMIN,
        body=AliasTarget,
        answers={200: AliasInfo},
        problems=(ModelNotFound, PreconditionFailed, PreconditionRequired),
        parameters=(_IF_MATCH, _IF_NONE_MATCH),
    ),
    Operation(
        "POST",
        _NAMED + "/rollback",
        "Lead a name back to the model before.",
        Scope.ADMIN,
        body=Nothing,
        answers={200: AliasInfo},
        problems=(AliasNotFound, ModelState, PreconditionFailed, IdempotencyConflict),
        parameters=(_IF_MATCH, _ONCE),
    ),
    Operation(
        "DELETE",
        _NAMED,
        "Take a name away.",
        Scope.ADMIN,
        answers={204: None},
        problems=(AliasNotFound, PreconditionFailed, PreconditionRequired),
        parameters=(_IF_MATCH,),
    ),
    Operation(
        "POST",
        "/v1/sweeps",
        "Promote the staged uploads that are registered, and discard the others.",
        Scope.SWEEP,
        body=Nothing,
        answers={200: SweepReport},
        problems=(IdempotencyConflict,),
        parameters=(_ONCE,),
    ),
    Operation(
        "POST",
        "/v1/tokens",
        "Mint a bearer token that may do some of what the key may; the call must be signed.",
        None,
        body=TokenRequest,
        answers={200: Token},
        problems=(IdempotencyConflict,),
        parameters=(_ONCE,),
    ),
    Operation(
        "GET",
        "/v1/audit",
        "List who changed what, the latest first.",
        Scope.ADMIN,
        answers={200: AuditPage},
        parameters=(_LIMIT, Parameter("before", "Begin before this id.", _ID)),
    ),
    Operation("GET", "/livez", "Tell that the process lives.", None, answers={200: Live}),
    Operation(
        "GET",
        "/readyz",
        "Tell how the parts are.",
        None,
        answers={200: dict[str, Any], 503: dict[str, Any]},
    ),
    Operation(
        "GET",
        "/metrics",
        "Count for Prometheus; `METRICS_TOKEN` does, too.",
        Scope.READ,
        answers={200: "text/plain"},
        parameters=(
            Parameter("names", "Those of Triton.", {"type": "string", "enum": ["triton"]}),
        ),
    ),
    Operation(
        "GET",
        "/.well-known/spectrogrampredictor-receipts",
        "Show the public key of receipts, as a JWK set.",
        None,
        answers={200: "application/jwk-set+json"},
    ),
    Operation("GET", "/openapi.json", "Describe the API.", None, answers={200: dict[str, Any]}),
    Operation("GET", "/docs", "Describe it for people.", None, answers={200: "text/html"}),
)

OPERATIONS = (*_MODEL_OPERATIONS, *SOUND_OPERATIONS, *JOB_OPERATIONS, *UPLOAD_OPERATIONS)
