"""Standard base64 from outside: every character is checked."""

import pybase64

from server.errors import BadBase64


def decode_base64(text: str | memoryview, name: str) -> bytes:
    """Decode standard base64 with its padding.

    Parameters
    ----------
    text : str or memoryview
        As it came.
    name : str
        Of the field, for the refusal.

    Raises
    ------
    BadBase64
        If it is anything else.
    """
    try:
        whole = pybase64.b64decode(text, validate=True)
    except (ValueError, UnicodeEncodeError) as error:
        raise BadBase64(f"the field {name!r} is not standard base64") from error
    return whole
