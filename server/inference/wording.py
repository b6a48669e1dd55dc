"""What libraries say when they refuse a model, in one line."""

_REASON_CHARS = 400
_REASON = "Exception encountered:"  # Keras says it after a configuration that may be long


def first_line(error: Exception) -> str:
    """Return the line of what a library says that tells the reason, not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.removeprefix(_REASON).strip() for line in lines if line.startswith(_REASON)]
    return (told or lines or [type(error).__name__])[0][:_REASON_CHARS]
