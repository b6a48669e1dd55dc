"""What answers hold beside their bodies: headers, and links to what may be asked next."""

from collections.abc import Mapping

_DIGEST, _NAME = "$response.body#/digest", "$response.body#/name"
# from an operation to others, each with the parameters that the answer fills in
LINKS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "post_models": {
        "put_models_name_file": {"name": _DIGEST},
        "head_models_name_file": {"name": _DIGEST},
        "get_models_name": {"name": _DIGEST},
        "delete_models_name": {"name": _DIGEST},
    },
    "put_models_name_file": {
        "get_models_name": {"name": _DIGEST},
        "post_models_digest_predictions": {"digest": _DIGEST},
        "patch_models_name": {"name": _DIGEST},
    },
    "get_models": {"get_models": {"after": "$response.body#/next"}},
    "get_models_name": {"post_models_digest_predictions": {"digest": _DIGEST}},
    "patch_models_name": {"get_models_name": {"name": _DIGEST}},
    "put_aliases_name": {
        "get_aliases_name": {"name": _NAME},
        "delete_aliases_name": {"name": _NAME},
        "post_aliases_name_rollback": {"name": _NAME},
        "post_models_digest_predictions": {"digest": _NAME},
    },
    "get_aliases_name": {
        "get_models_name": {"name": _DIGEST},
        "put_aliases_name": {"name": _NAME, "If-Match": "$response.header.ETag"},
        "delete_aliases_name": {"name": _NAME, "If-Match": "$response.header.ETag"},
    },
    "get_frontends": {"post_frontends_name": {"name": "$response.body#/frontends/0/id"}},
    "get_audit": {"get_audit": {"before": "$response.body#/next"}},
}

_TAG = {"ETag": "The version."}
_WHERE = {"Upload-Offset": "Where the upload stands.", "Upload-Expires": "When it is forgotten."}
# headers that every success of an operation has
HEADERS: Mapping[str, Mapping[str, str]] = {
    "post_models": _TAG,
    "get_models_name": _TAG,
    "patch_models_name": _TAG,
    "head_models_name_file": {"Model-Bytes": "Of the file."},
    "get_aliases_name": _TAG,
    "put_aliases_name": _TAG,
    "post_aliases_name_rollback": _TAG,
    "post_frontends_name": {"Prediction-Window": "The part of the sound that was used."},
    "post_uploads": {"Location": "The path of the upload.", **_WHERE},
    "head_uploads_upload": {"Upload-Length": "Bytes of the file.", **_WHERE},
    "patch_uploads_upload": _WHERE,
}
