"""Check a signed file while it streams, in constant memory.

::

    <data, any bytes> "." <signature>
                      |<- 28 bytes ->|   always held back; the rest flows on

Nothing that flowed may become visible before the verdict at the end.
"""

from collections.abc import AsyncIterable, AsyncIterator

from server.signing.keyring import FILE_SALT, TRAILER_BYTES, KeyRing, check_trailer


class StreamUnsigner:
    """Take signed bytes in pieces of any size, give the data back, then judge the trailer.

    Parameters
    ----------
    keys : KeyRing
        Any of its tokens may have signed.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._codes = keys.codes(FILE_SALT)
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Return the data that can no longer be part of the trailer; may be empty."""
        joined = self._held + piece
        ready = len(joined) - TRAILER_BYTES
        if ready <= 0:
            self._held = joined
            return b""
        data, self._held = joined[:ready], joined[ready:]
        for code in self._codes:
            code.update(data)
        return data

    def finish(self) -> None:
        """Judge the trailer.

        Raises
        ------
        BadSignature
            If it is missing, not canonical, or made with none of the tokens.
        """
        check_trailer(self._held, self._codes)


async def unsign_stream(chunks: AsyncIterable[bytes], keys: KeyRing) -> AsyncIterator[bytes]:
    """Yield the data of a signed stream; raise at its end when the signature is wrong.

    The error appears inside the consumer's loop, so a writer that cleans up on any error needs no
    more.

    Raises
    ------
    BadSignature
        As `StreamUnsigner.finish`.
    """
    unsigner = StreamUnsigner(keys)
    async for chunk in chunks:
        if data := unsigner.feed(chunk):
            yield data
    unsigner.finish()
