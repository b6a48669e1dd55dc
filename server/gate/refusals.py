"""The one refusal of the gate: a code, a sentence for the owner, and the place in the file."""

from server.errors import BadModel

_WHERE_CHARS = 200


def refused(reason: str, sentence: str, *, where: str = "") -> BadModel:
    """Build a refusal.

    Parameters
    ----------
    reason : str
        The code, which docs/model-files.md explains.
    sentence : str
        What is wrong, and what the owner does instead.
    where : str
        The path inside the file.
    """
    place = shown(where)
    detail = f"{sentence} (at {place})" if place else sentence
    return BadModel(detail, reason=reason, where=place)


def short(count: int) -> str:
    """Return a count as a sentence tells it."""
    return f"{min(count, 10**300):.3g}"  # a float holds no more


def shown(text: str) -> str:
    """Return a text out of a file as it may stand in a message: printable ASCII, not too long."""
    plain = text[:_WHERE_CHARS].encode("ascii", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in plain)[:_WHERE_CHARS]
