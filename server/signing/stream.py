"""Check a signed file while it streams, in constant memory.

::

    <data, any bytes> "." <signature>
                      |<- 28 bytes ->|   always held back; the rest flows on

Nothing that flowed may become visible before the verdict at the end.
"""

from collections.abc import AsyncIterable, AsyncIterator

from server.signing.keyring import FILE_SALT, TRAILER_BYTES, Key, KeyRing, check_trailer


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

    def feed(self, piece: bytes | memoryview) -> list[bytes | memoryview]:
        """Return the data that can no longer be part of the trailer, in order, not copied."""
        if len(piece) < TRAILER_BYTES:
            piece, self._held = self._held + piece, b""
        view = memoryview(piece)
        cut = max(0, len(view) - TRAILER_BYTES)
        ready = [data for data in (self._held, view[:cut]) if data]
        self._held = bytes(view[cut:])
        for code in self._codes:
            for data in ready:
                code.mac.update(data)
        return ready

    def finish(self) -> Key:
        """Judge the trailer; return the key that has signed.

        Raises
        ------
        BadSignature
            If it is missing, not canonical, or made with none of the tokens.
        """
        return check_trailer(self._held, self._codes)


class UnsignedStream:
    """The data of a signed stream; its end raises when the signature is wrong.

    The error appears inside the consumer's loop, so a writer that cleans up on any error needs no
    more.

    Parameters
    ----------
    chunks : async iterable of bytes or memoryview
        What was signed, and its trailer.
    keys : KeyRing
        Any of its tokens may have signed.

    Attributes
    ----------
    key : Key
        Has signed; known once the stream has ended.
    """

    key: Key

    def __init__(self, chunks: AsyncIterable[bytes | memoryview], keys: KeyRing) -> None:
        self._chunks = chunks
        self._unsigner = StreamUnsigner(keys)

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the data.

        Raises
        ------
        BadSignature
            As `StreamUnsigner.finish`.
        """
        async for chunk in self._chunks:
            for data in self._unsigner.feed(chunk):
                yield data
        self.key = self._unsigner.finish()
