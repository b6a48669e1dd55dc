"""What the command line says when something did not work."""

import httpx

from spectrogrampredictor.problem import Problem


class Failed(Exception):
    """A command that did not do all that it should; says what."""


def said_of(error: Exception) -> str:
    """Return one line for a person."""
    if isinstance(error, Problem):
        name = f" ({error.slug})" if error.slug else ""
        return f"{error.detail or error.title}{name}"
    if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the server's certificate is not trusted: CA_FILE names the authority that made it"
    if isinstance(error, httpx.TransportError):
        return f"the server cannot be reached: {error or type(error).__name__}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
