"""The least that Python does for an upload: one blocking thread receives, hashes and writes.

    python -m benchmarks.floor CERTS FOLDER signed|unsigned

A contestant of `benchmarks.upload`, run as a process of its own. It speaks no more HTTP than that
takes: a head with a length, a body, an answer; the body is written as it is. Prints its port, then
the CPU seconds of every upload, from the first byte of the request to the answer.
"""

import hashlib
import hmac
import os
import re
import socket
import ssl
import sys
import time
from pathlib import Path

from benchmarks.serving import HOST

_BLOCK = 256 << 10
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main() -> None:
    """Serve one upload after the other until the process is ended."""
    certificates, folder, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as connection:
                print(receive(connection, folder, signed=kind == "signed"), flush=True)


def receive(connection: ssl.SSLSocket, folder: Path, *, signed: bool) -> float:
    """Receive one upload; return the CPU seconds that it took."""
    started = time.process_time()
    head, left = _head(connection)
    view = memoryview(bytearray(_BLOCK))
    sha256, code = hashlib.sha256(head), hmac.new(b"key", head, "sha1")
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, head)
        while left:
            filled, wanted = 0, min(_BLOCK, left)
            while filled < wanted:
                filled += _more(connection.recv_into(view[filled:wanted]))
            sha256.update(view[:filled])
            if signed:
                code.update(view[:filled])
            os.write(fd, view[:filled])
            left -= filled
        os.fsync(fd)
    finally:
        os.close(fd)
    connection.sendall(_ANSWER)
    return time.process_time() - started


def _head(connection: ssl.SSLSocket) -> tuple[bytes, int]:
    """Return what came of the body behind the head, and how much of it is missing."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(_BLOCK)
        _more(len(piece))
        received += piece
    head, _, start = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return start, int(length[1] if length else 0) - len(start)


def _more(size: int) -> int:
    if size == 0:
        raise SystemExit("the client went away")
    return size


if __name__ == "__main__":
    main()
