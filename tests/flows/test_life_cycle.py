"""Stops, kills and restarts: nothing acknowledged is lost, nothing half-done is left."""

import os
import random
import signal
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.flows import sounds
from tests.flows.conftest import TinyModels
from tests.flows.running import (
    FORM_TYPE,
    Server,
    difference,
    digest_of,
    file_part,
    form,
    multipart,
    prediction_body,
    probabilities,
    problem_of,
    request_head,
    sign_file,
    wait_until,
)

pytestmark = pytest.mark.timeout(240)
New = Callable[..., Server]
Noise = Callable[[int], bytes]
KILLS = 8


def _gone(pids: list[int]) -> bool:
    return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _worker(server: Server) -> psutil.Process:
    wait_until(lambda: server.children("onnx_child"), "the model is loaded")
    return server.children("onnx_child")[0]


# restarts


def test_a_restart_forgets_nothing(
    new_server: New, tiny: TinyModels, wav: bytes, noise: Noise
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    registered, waiting = noise(500), noise(500)
    server.register(digest_of(registered))
    server.register(digest_of(waiting))
    server.upload(waiting)
    before = probabilities(server.predict(digest, wav))
    assert server.stop() == 0
    server.start()
    assert difference(probabilities(server.predict(digest, wav)), before) < 1e-6
    server.upload(registered)
    server.sweep()
    assert server.stored() == {digest, digest_of(registered), digest_of(waiting)}


def test_a_model_whose_file_vanished_may_be_uploaded_again(
    new_server: New, noise: Noise, short_wav: bytes
) -> None:
    server = new_server(INTAKE_TIMEOUT_S="0.1").start()
    content = noise(500)
    server.upload_signed(content)
    server.wait_for_log("model rejected")
    server.register(digest_of(content))  # rejected files are judged again when registered again
    assert server.stop() == 0
    (server.models / digest_of(content)).unlink()
    server.start()
    wait_until(
        lambda: server.predict(digest_of(content), short_wav).status_code in (409, 422),
        "the registry agrees with the store",
    )
    server.upload_signed(content)
    assert (server.models / digest_of(content)).read_bytes() == content


def test_a_file_put_into_the_store_by_hand_is_no_model(
    new_server: New, noise: Noise, short_wav: bytes
) -> None:
    server = new_server().start()
    assert server.stop() == 0
    content = noise(500)
    (server.models / digest_of(content)).write_bytes(content)
    server.start()
    assert problem_of(server.predict(digest_of(content), short_wav), 404) == "model-not-found"


def test_a_damaged_file_in_the_store_is_not_promoted(
    new_server: New, noise: Noise, short_wav: bytes
) -> None:
    server = new_server().start()
    digest = digest_of(noise(500))
    server.register(digest)
    assert server.stop() == 0
    (server.models / digest).write_bytes(noise(500))
    server.start()
    assert problem_of(server.predict(digest, short_wav), 409) == "model-not-uploaded"
    assert digest not in server.stored()


# kills


class _Owner(threading.Thread):
    """A model owner who registers, uploads and sweeps until the server is gone."""

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__()
        self._server = server
        self._random = random.Random(seed)
        self.registered: dict[str, bytes] = {}  # acknowledged
        self.stored: dict[str, bytes] = {}  # acknowledged signed uploads
        self.uploaded: dict[str, bytes] = {}  # acknowledged, of registered digests

    def run(self) -> None:
        try:
            with self._server.client(timeout_s=30) as http:
                while True:
                    self._step(http)
        except (httpx.TransportError, ssl.SSLError):
            return

    def _step(self, http: httpx.Client) -> None:
        content = self._random.randbytes(self._random.choice([100, 5000, 300_000]))
        digest = digest_of(content)
        act = self._random.randrange(4)
        if act == 0:
            files = form(sign_file(content))
            if http.post("/uploadmodel", files=files).status_code == 200:
                self.stored[digest] = content
        elif act == 1:
            http.post(self._server.uploads + "/nodemodeluploads", files=form(content))
        elif act == 2:
            http.get("/hashmodels")
        elif self._server.register(digest).status_code == 200:
            self.registered[digest] = content
            url = self._server.uploads + "/nodemodeluploads"
            if http.post(url, files=form(content)).status_code == 200:
                self.uploaded[digest] = content


def test_kills_at_random_moments_lose_nothing_that_was_acknowledged(
    new_server: New, noise: Noise
) -> None:
    server = new_server(SWEEP_INTERVAL_S="0.2", INTAKE_TIMEOUT_S="0.1")
    seed = random.SystemRandom().randrange(1 << 30)
    moments = random.Random(seed)
    stored: dict[str, bytes] = {}
    registered: dict[str, bytes] = {}
    for _ in range(KILLS):
        server.start()
        owners = [_Owner(server, moments.randrange(1 << 30)) for _ in range(3)]
        for owner in owners:
            owner.start()
        enough = moments.randrange(1, 12)

        def acknowledged(owners: list[_Owner] = owners, enough: int = enough) -> bool:
            return sum(len(o.stored) + len(o.registered) for o in owners) >= enough

        wait_until(acknowledged, f"{enough} requests are acknowledged (seed {seed})")
        server.kill()
        for owner in owners:
            owner.join(60)
            assert not owner.is_alive()
            stored |= owner.stored | owner.uploaded
            registered |= owner.registered
    server.start()
    wait_until(lambda: not server.staged(), "the next sweep leaves no garbage")
    for digest in server.stored():
        assert digest_of((server.models / digest).read_bytes()) == digest
    assert set(stored) <= server.stored(), f"seed {seed}"
    missing = [digest for digest in registered if digest not in server.stored()]
    for digest in missing:
        server.upload(registered[digest])
    server.sweep()
    wait_until(lambda: set(missing) <= server.stored(), "what was registered may be uploaded")
    assert "Traceback" not in server.log()


def test_a_kill_leaves_no_child(new_server: New) -> None:
    server = new_server().start()
    wait_until(lambda: server.children("decoder_child"), "the decoder runs")
    pids = [child.pid for child in server.children()]
    server.kill()
    wait_until(lambda: _gone(pids), "every child ends with its parent")


def test_a_restart_after_a_kill_leaves_no_old_temporary_folder(new_server: New) -> None:
    server = new_server().start()
    wait_until(lambda: server.get("/readyz").status_code == 200, "the decoder is ready")
    old = set(server.scratch.iterdir())
    server.kill()
    server.start()
    wait_until(lambda: server.get("/readyz").status_code == 200, "the decoder is ready")
    assert server.stop() == 0
    assert not old & set(server.scratch.iterdir())


# stops


def test_a_stop_ends_with_status_0_and_no_child(new_server: New) -> None:
    server = new_server().start()
    wait_until(lambda: server.get("/readyz").status_code == 200, "the decoder is ready")
    pids = [child.pid for child in server.children()]
    assert server.stop() == 0
    assert _gone(pids)
    assert list(server.scratch.iterdir()) == []
    assert "Traceback" not in server.log()


def test_an_interrupt_ends_with_status_0(new_server: New) -> None:
    server = new_server().start()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=60) == 0


def test_a_stop_lets_a_sweep_finish(new_server: New, noise: Noise) -> None:
    server = new_server(SWEEP_INTERVAL_S="0.1", GRACEFUL_S="30").start()
    wait_until(lambda: server.get("/readyz").status_code == 200, "the decoder is ready")
    for k in range(3000):  # placed by hand: as many as keep a sweep busy for a while
        (server.uploads_tmp / f"{k:032x}.upload").write_bytes(noise(1000))
    wait_until(lambda: 0 < len(server.staged()) < 2900, "a sweep is at work")
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def test_a_stop_lets_an_upload_finish(new_server: New, noise: Noise) -> None:
    server = new_server(GRACEFUL_S="20").start()
    content = noise(100_000)
    body = multipart(file_part(sign_file(content)))
    with server.connect() as connection:
        connection.sendall(request_head("/uploadmodel", len(body), content_type=FORM_TYPE))
        connection.sendall(body[:50_000])
        wait_until(server.writing, "the upload is being written")
        server.terminate()
        server.wait_for_log("stopping")
        connection.sendall(body[50_000:])
        read = b""
        while b"model saved" not in read and (piece := connection.recv(65536)):
            read += piece
        assert read.startswith(b"HTTP/1.1 200")
    assert server.process.wait(timeout=60) == 0
    assert (server.models / digest_of(content)).read_bytes() == content


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_a_prediction_finish(
    new_server: New, tiny: TinyModels, wav: bytes, number: signal.Signals
) -> None:
    server = new_server(GRACEFUL_S="30").start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    given = probabilities(server.predict(digest, wav))
    long = sounds.encode(sounds.song(240.0))
    body = prediction_body(digest, long)
    decoder = server.children("decoder_child")[0]
    used = sum(decoder.cpu_times()[:2])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "/prediction", body)
        wait_until(
            lambda: answer.done() or sum(decoder.cpu_times()[:2]) > used, "it is being decoded"
        )
        # to all of them, as a terminal sends an interrupt and systemd the end
        for child in server.children():
            child.send_signal(number)
        server.process.send_signal(number)
        assert len(probabilities(answer.result())) == len(given)
    assert server.process.wait(timeout=60) == 0


def test_a_stop_does_not_wait_for_an_idle_upload(new_server: New) -> None:
    server = new_server(GRACEFUL_S="2").start()
    with server.connect() as connection:
        connection.sendall(request_head("/uploadmodel", 5000, content_type=FORM_TYPE))
        connection.sendall(multipart(file_part(b"x" * 2000))[:1000])
        wait_until(server.writing, "the upload is being written")
        server.terminate()
        assert server.process.wait(timeout=30) == 0
    assert server.staged() == []


def test_a_stop_while_a_model_is_judged_ends_every_child(new_server: New, tiny: TinyModels) -> None:
    server = new_server(GRACEFUL_S="3").start()
    server.host(tiny.path("row.h5").read_bytes())
    wait_until(lambda: server.children("intake_child"), "the model is being judged")
    pids = [child.pid for child in server.children()]
    assert server.stop() == 0
    wait_until(lambda: _gone(pids), "every child has ended")


def test_a_model_that_was_being_judged_is_judged_at_the_next_start(
    new_server: New, tiny: TinyModels, wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    wait_until(lambda: server.children("intake_child"), "the model is being judged")
    server.kill()
    server.start()
    answer = probabilities(server.predict(digest, wav))
    assert difference(answer, tiny.answers["row"]) < 1e-5


# workers


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"MAX_PREDICTIONS": "1"}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> str:
    return server.host(tiny.path("two.h5").read_bytes())


@pytest.fixture(scope="module")
def given(server: Server, hosted: str, wav: bytes) -> list[float]:
    return probabilities(server.predict(hosted, wav))


def test_an_idle_worker_that_is_killed_is_replaced(
    server: Server, hosted: str, wav: bytes, given: list[float]
) -> None:
    _worker(server).kill()
    answers = [server.predict(hosted, wav) for _ in range(2)]
    assert answers[0].status_code in (200, 502, 503)
    assert difference(probabilities(answers[1]), given) < 1e-6


def test_an_idle_decoder_that_is_killed_is_replaced(
    server: Server, hosted: str, wav: bytes, given: list[float]
) -> None:
    server.children("decoder_child")[0].kill()
    answers = [server.predict(hosted, wav) for _ in range(2)]
    assert answers[0].status_code in (200, 502, 503)
    assert difference(probabilities(answers[1]), given) < 1e-6


@pytest.mark.parametrize("kind", ["decoder_child", "onnx_child"])
def test_readiness_goes_when_the_last_process_of_a_kind_dies_and_comes_back(
    server: Server, given: list[float], kind: str
) -> None:
    def status() -> int:
        return server.get("/readyz").status_code

    wait_until(lambda: status() == 200 and server.children(kind), "all is well")
    (child,) = server.children(kind)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: status() == 503, "it is not ready", deadline_s=2)
    wait_until(lambda: status() == 200, "another has taken its place")
    assert server.get("/livez").status_code == 200


def test_a_decoder_that_is_killed_fails_its_request_alone(
    server: Server, hosted: str, wav: bytes, given: list[float]
) -> None:
    wait_until(lambda: server.children("decoder_child"), "a decoder is ready")
    decoder = server.children("decoder_child")[0]
    decoder.suspend()  # so that the request is held when it dies
    with ThreadPoolExecutor(3) as pool:
        # MAX_PREDICTIONS is 1: while one is held, the two others are refused
        calls = [pool.submit(server.predict, hosted, wav) for _ in range(3)]
        wait_until(lambda: sum(call.done() for call in calls) == 2, "one is held")
        (held,) = [call for call in calls if not call.done()]
        decoder.kill()
        assert problem_of(held.result(), 502) == "worker-failed"
    assert difference(probabilities(server.predict(hosted, wav)), given) < 1e-6


def _runs_rows(server: Server) -> bool:
    return bool(server.get("/readyz").json()["models_running"] == 1)


def test_three_killed_workers_with_answers_between_do_not_disable_the_model(
    new_server: New, tiny: TinyModels, wav: bytes
) -> None:
    server = new_server().start()
    digest = server.host(tiny.path("row.h5").read_bytes())
    for _ in range(3):
        probabilities(server.predict(digest, wav))
        worker = _worker(server)
        worker.suspend()
        with ThreadPoolExecutor(1) as pool:
            failed = pool.submit(server.predict, digest, wav)
            wait_until(lambda: _runs_rows(server), "the suspended worker holds the request")
            worker.kill()
            assert problem_of(failed.result(), 502) == "worker-failed"
    probabilities(server.predict(digest, wav))
