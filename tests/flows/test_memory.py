"""Uploads flow through the server: its memory does not grow with their size."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.flows.running import Server, digest_of, form, sign_file, wait_until

pytestmark = pytest.mark.timeout(240)
MIB = 1 << 20
SIZE = 200 * MIB
MOST = 32 * MIB


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"INTAKE_TIMEOUT_S": "0.1"}  # what is uploaded here is no model


@pytest.fixture(scope="module")
def warm(server: Server, short_wav: bytes) -> Server:
    """Return the server with every path used once, so that nothing is imported later."""
    wait_until(lambda: server.get("/readyz").status_code == 200, "the decoder is ready")
    server.upload(bytes(4 * MIB))
    server.upload_signed(bytes(4 * MIB + 1))
    server.sweep()
    server.predict("0" * 64, short_wav)
    return server


@contextmanager
def growth_of(server: Server) -> Iterator[Callable[[], int]]:
    """Sample the resident memory of the processes that there are; give the growth to its peak."""
    processes = [psutil.Process(server.process.pid), *server.children("decoder_child")]

    def resident() -> int:
        return sum(process.memory_info().rss for process in processes)

    first = resident()
    peak = first
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, resident())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield lambda: peak - first
    finally:
        done.set()
        sampler.join()


def test_an_unsigned_upload_of_200_mib_takes_no_memory(
    warm: Server, noise: Callable[[int], bytes]
) -> None:
    content = noise(SIZE)
    with growth_of(warm) as growth, warm.client() as http:
        answer = http.post(warm.uploads + "/nodemodeluploads", files=form(content))
        assert answer.status_code == 200
        assert growth() < MOST


def test_a_signed_upload_of_200_mib_takes_no_memory(
    warm: Server, noise: Callable[[int], bytes]
) -> None:
    content = noise(SIZE)
    files = form(sign_file(content))
    with growth_of(warm) as growth, warm.client() as http:
        answer = http.post("/uploadmodel", files=files)
        assert answer.json() == {"msg": "model saved", "hash": digest_of(content)}
        assert growth() < MOST


def test_a_signed_upload_over_http2_takes_no_memory(
    warm: Server, noise: Callable[[int], bytes]
) -> None:
    content = noise(64 * MIB)
    file = io.BytesIO(sign_file(content))  # read in pieces, which httpcore does not copy
    with growth_of(warm) as growth, warm.client(http2=True) as http:
        answer = http.post("/uploadmodel", files=[("model", ("model", file))])
        assert answer.json() == {"msg": "model saved", "hash": digest_of(content)}
        assert growth() < MOST
