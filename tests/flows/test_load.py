"""More than the server can do: refused at once, in fair shares, and told when to come back."""

import json
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import psutil
import pytest

from tests.flows.conftest import TinyModels
from tests.flows.running import (
    FORM_TYPE,
    Server,
    file_part,
    multipart,
    prediction_body,
    probabilities,
    problem_of,
    request_head,
    wait_until,
)

pytestmark = pytest.mark.timeout(240)
PLACES = 4
NewServer = Callable[..., Server]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"MAX_PREDICTIONS": str(PLACES), "MAX_UPLOADS": str(PLACES), "BODY_IDLE_S": "20"}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels, short_wav: bytes) -> str:
    digest = server.host(tiny.path("two.h5").read_bytes())
    probabilities(server.predict(digest, short_wav))
    return digest


@contextmanager
def _stopped(server: Server) -> Iterator[None]:
    """Stop every decoder, so that predictions wait."""
    decoders = server.children("decoder_child")
    for decoder in decoders:
        decoder.suspend()
    try:
        yield
    finally:
        for decoder in decoders:
            decoder.resume()


def _ask(server: Server, body: str, address: str) -> httpx.Response:
    """Ask for a prediction from an address of the loopback network."""
    transport = httpx.HTTPTransport(verify=server.tls(), local_address=address)
    with httpx.Client(transport=transport, base_url=server.api, timeout=110) as http:
        return http.post("/prediction", content=body)


def _in_flight(server: Server) -> int:
    return int(server.get("/readyz").json()["predictions"])


def test_places_are_shared_and_refusals_come_at_once(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    body = prediction_body(hosted, short_wav)
    with ThreadPoolExecutor(PLACES) as pool:
        with _stopped(server):
            held: list[Future[httpx.Response]] = [
                pool.submit(_ask, server, body, "127.0.0.1") for _ in range(PLACES - 1)
            ]
            wait_until(lambda: _in_flight(server) == PLACES - 1, "one caller has its share")
            greedy = _ask(server, body, "127.0.0.1")
            # the model has its share as well, so another caller needs another model: none here
            other = _ask(server, body, "127.0.0.2")
            with server.client() as http:
                seconds = []
                for _ in range(20):
                    begun = time.monotonic()
                    assert http.post("/prediction", content=body).status_code == 429
                    seconds.append(time.monotonic() - begun)
        answers = [call.result() for call in held]
    assert problem_of(greedy, 429) == "too-many-requests"
    assert problem_of(other, 503) == "server-busy"
    for refused in (greedy, other):
        assert int(refused.headers["Retry-After"]) >= 1
    assert statistics.median(seconds) < 0.05
    for answer in answers:
        probabilities(answer)
    assert _in_flight(server) == 0


def test_after_the_told_wait_there_is_a_place(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    body = prediction_body(hosted, short_wav)
    refused: list[httpx.Response] = []
    done = threading.Event()

    def ask_again() -> None:
        with server.client() as http:
            while not done.is_set():
                answer = http.post("/prediction", content=body)
                if answer.status_code in (429, 503):
                    refused.append(answer)

    with ThreadPoolExecutor(8) as pool:
        askers = [pool.submit(ask_again) for _ in range(8)]
        wait_until(lambda: len(refused) > 20, "some are refused")
        done.set()
        for asker in askers:
            asker.result()
        told_s = int(refused[-1].headers["Retry-After"])
        told = time.monotonic() + told_s
        wait_until(lambda: time.monotonic() >= told, "the told wait is over")
        probabilities(server.predict(hosted, short_wav))
    assert told_s <= 30  # a few short sounds


def test_a_client_that_leaves_gives_back_its_place_in_every_queue(
    server: Server, hosted: str, short_wav: bytes
) -> None:
    body = prediction_body(hosted, short_wav).encode()
    head = request_head("/prediction", len(body), content_type="text/plain")
    with _stopped(server):
        with ExitStack() as stack:
            for _ in range(PLACES - 1):
                stack.enter_context(server.connect()).sendall(head + body)
            wait_until(lambda: _in_flight(server) == PLACES - 1, "they wait")
        wait_until(lambda: _in_flight(server) == 0, "their places are free")
        # the one that the decoder has begun is finished, the others have left the queue
        wait_until(
            lambda: server.get("/readyz").json()["decoder_queue"] == 0, "their rows are gone"
        )
    probabilities(server.predict(hosted, short_wav))


def test_uploads_of_one_address_leave_places_to_others(
    server: Server, noise: Callable[[int], bytes]
) -> None:
    body = multipart(file_part(noise(100_000)))
    head = request_head("/nodemodeluploads", len(body), content_type=FORM_TYPE)
    with ExitStack() as stack:
        for _ in range(PLACES - 1):
            slow = stack.enter_context(server.connect(server.uploads))
            slow.sendall(head + body[:50_000])
        wait_until(lambda: len(server.writing()) == PLACES - 1, "one address has its share")
        refused = server.upload(b"x")
        assert problem_of(refused, 429) == "too-many-requests"
        transport = httpx.HTTPTransport(verify=server.tls(), local_address="127.0.0.2")
        with httpx.Client(transport=transport, timeout=60) as http:
            files = [("model", ("model", b"y", "application/octet"))]
            taken = http.post(server.uploads + "/nodemodeluploads", files=files)
        assert taken.status_code == 200


def test_the_memory_of_hundreds_of_uploads_is_given_back(
    server: Server, noise: Callable[[int], bytes]
) -> None:
    web = psutil.Process(server.process.pid)
    peak = 0

    def upload(size: int) -> int:
        nonlocal peak
        body = multipart(file_part(content[:size]))
        head = request_head("/nodemodeluploads", len(body), content_type=FORM_TYPE)
        with server.connect(server.uploads) as connection:
            connection.sendall(head + body)
            status = int(connection.recv(65536).split()[1])
        peak = max(peak, web.memory_info().rss)
        return status

    content = noise(8 << 20)
    assert upload(1 << 20) == 200
    before = web.memory_info().rss
    with ThreadPoolExecutor(40) as pool:
        statuses = list(pool.map(upload, [(1 + k % 8) << 20 for k in range(400)]))
    assert set(statuses) <= {200, 429, 503}
    assert 200 in statuses
    assert peak - before < 160 << 20
    wait_until(lambda: web.memory_info().rss - before < 32 << 20, "it is given back")


def test_a_prediction_past_its_deadline_is_dropped(
    new_server: NewServer, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server(DEADLINE_S="1.5").start()
    digest = server.host(tiny.path("two.h5").read_bytes())
    wait_until(lambda: server.predict(digest, short_wav).status_code == 200, "it predicts")
    with _stopped(server):
        assert problem_of(server.predict(digest, short_wav), 504) == "deadline-passed"
        assert _in_flight(server) == 0


@pytest.mark.parametrize("path", ["/prediction", "/uploadmodel", "/nodemodeluploads"])
def test_a_body_that_crawls_is_cut(new_server: NewServer, path: str) -> None:
    server = new_server(UPLOAD_GRACE_S="0.5", MIN_UPLOAD_RATE="10000").start()
    url = server.uploads if path == "/nodemodeluploads" else server.api
    begun = multipart(file_part(b"x" * 1000))[:500]
    with server.connect(url) as connection:
        connection.sendall(request_head(path, 1 << 20, content_type=FORM_TYPE) + begun)
        answer = b""
        connection.settimeout(0.05)

        def is_cut() -> bool:
            nonlocal answer
            try:
                connection.sendall(b"x" * 10)
                answer += connection.recv(65536)
            except TimeoutError:
                return False
            except (ConnectionError, ssl.SSLError):
                return True
            return answer.endswith(b"}")

        wait_until(is_cut, "it is cut", deadline_s=20)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/body-too-slow" in answer


def test_a_model_that_crashes_again_and_again_is_disabled_until_it_is_enabled(
    new_server: NewServer, tiny: TinyModels, short_wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    probabilities(server.predict(digest, short_wav))
    last = 0
    for _ in range(3):
        last = _crash(server, digest, short_wav, after=last)
    refused = server.predict(digest, short_wav)
    assert problem_of(refused, 409) == "model-disabled"
    assert "took down its worker 3 times" in refused.json()["detail"]

    while_it_runs = server.run("models", "enable", digest)
    assert while_it_runs.returncode == 2
    assert "stop it first" in while_it_runs.stderr
    assert server.stop() == 0
    listed = server.run("models", "list")
    assert listed.stdout.splitlines() == [
        f"{digest} disabled  it took down its worker 3 times in a row"
    ]
    assert server.run("models", "enable", digest).returncode == 0
    assert server.run("models", "enable", digest).returncode == 1
    server.start()
    probabilities(server.predict(digest, short_wav))

    assert server.stop() == 0
    assert server.run("models", "disable", digest).returncode == 0
    server.start()
    assert problem_of(server.predict(digest, short_wav), 409) == "model-disabled"
    by = [(entry["action"], entry["by"]) for entry in _audit(server)[:2]]
    assert by == [("disabled", "operator"), ("enabled", "operator")]


def _audit(server: Server) -> list[dict[str, Any]]:
    minted = server.run("token", "--scope", "admin").stdout.strip()
    with server.client() as http:
        answer = http.get("/v1/audit", headers={"Authorization": f"Bearer {minted}"})
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


def _crash(server: Server, digest: str, sound: bytes, *, after: int) -> int:
    """Kill the model's worker, another than before, while it holds a prediction; return its id."""

    def workers() -> list[psutil.Process]:
        return server.children("onnx_child") + server.children("keras_child")

    def is_loaded() -> bool:
        # a new process is there only after the last one counts no more
        pids = [worker.pid for worker in workers()]
        return pids not in ([], [after]) and server.get("/readyz").json()["model_workers"] == 1

    wait_until(is_loaded, "the model has a worker")
    (worker,) = workers()
    worker.suspend()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, digest, sound)
        wait_until(
            lambda: server.get("/readyz").json()["models_running"] == 1,
            "the worker holds the request",
        )
        worker.kill()
        assert problem_of(call.result(), 502) == "worker-failed"
    return worker.pid


def test_a_digest_that_is_none_is_told_on_the_command_line(new_server: NewServer) -> None:
    done = new_server().run("models", "enable", "xyz")
    assert done.returncode == 1
    assert "64 hexadecimal digits" in done.stderr


def test_readiness_tells_what_waits(server: Server) -> None:
    state = json.loads(server.get("/readyz").text)
    assert {"predictions", "decoder_queue", "connections", "turned_away"} <= set(state)
