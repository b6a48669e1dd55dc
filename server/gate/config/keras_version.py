"""Which Keras wrote a file, by what it says of itself."""

import re

_MAJOR = re.compile(r"([0-9]{1,4})(?:\.|$)")


def is_before_3(version: str | None) -> bool:
    """Return whether a file was written by a Keras before 3, or does not say."""
    found = _MAJOR.match(version or "")
    return found is None or int(found[1]) < 3
