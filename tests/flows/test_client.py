"""The package `spectrogrampredictor` against the server, over TLS."""

import asyncio
import base64
import inspect
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from server.audio.feature_names import FEATURE_NAMES
from spectrogrampredictor import (
    Answered,
    AsyncClient,
    BadReceipt,
    BearerToken,
    Client,
    Ed25519Key,
    HmacKey,
    Model,
    Prediction,
    SigningToken,
    problems,
    verify_receipt,
)
from spectrogrampredictor.uploads import Memory
from tests.flows.conftest import TinyModels
from tests.flows.messages import SCOPES, key, pair, write_keys
from tests.flows.running import TOKEN, Server, difference, digest_of
from tests.flows.sounds import encode, song
from tests.signing.messages import PRIVATE, SECRET

pytestmark = pytest.mark.timeout(240)
Noise = Callable[[int], bytes]
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
HMAC = HmacKey("all", base64.b64encode(SECRET).decode())
AUTHS: dict[str, httpx.Auth] = {
    "itsdangerous": SigningToken(TOKEN),
    "hmac": HMAC,
    "ed25519": Ed25519Key("pair", PEM),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    few = key("few", "register", "upload", "predict")
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", key("all"), pair(), few)
    return {"KEYS_FILE": str(path), "RESIDENT_MODELS": "4"}


class Asker:
    """Calls a client of either kind by the names of its methods."""

    def __init__(self, server: Server, auth: httpx.Auth | None, kind: str, **options: Any) -> None:
        self._url, self._auth, self._kind = server.api, auth, kind
        self._options: dict[str, Any] = {"ca_file": server.ca} | options
        self._server = server

    def through(self, url: str) -> "Asker":
        """Return one that reaches the server at another address."""
        other = Asker(self._server, self._auth, self._kind, **self._options)
        other._url = url
        return other

    def __call__(self, name: str, *arguments: Any, **named: Any) -> Any:
        if self._kind == "sync":
            with Client(self._url, self._auth, **self._options) as client:
                found = getattr(client, name)(*arguments, **named)
                return list(found) if inspect.isgenerator(found) else found
        return asyncio.run(self._ask(name, arguments, named))

    async def _ask(self, name: str, arguments: Any, named: Any) -> Any:
        async with AsyncClient(self._url, self._auth, **self._options) as client:
            found = getattr(client, name)(*arguments, **named)
            if inspect.isasyncgen(found):
                return [one async for one in found]
            return await found


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels) -> Model:
    with Client(server.api, HMAC, ca_file=server.ca) as client:
        return client.push(tiny.path("two.h5"))


@pytest.fixture(params=["itsdangerous", "hmac", "ed25519", "bearer"])
def auth(request: pytest.FixtureRequest, server: Server) -> httpx.Auth:
    if request.param == "bearer":
        with Client(server.api, HMAC, ca_file=server.ca) as client:
            return BearerToken(client.mint_token(SCOPES, ttl_s=120).token)
    return AUTHS[request.param]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def ask(server: Server, auth: httpx.Auth, kind: str) -> Asker:
    return Asker(server, auth, kind)


@pytest.fixture
def by_hmac(server: Server, kind: str) -> Asker:
    return Asker(server, HMAC, kind)


# every dialect, both kinds


def test_a_model_answers_whoever_signs(
    ask: Asker, server: Server, hosted: Model, tiny: TinyModels, short_wav: bytes
) -> None:
    csv = ",".join(FEATURE_NAMES) + "\n" + ",".join(map(repr, tiny.row)) + "\n"
    options = {"csv": csv, "ext": "wav", "receipt": True, "features": True}
    answer: Prediction = ask("predict", hosted, short_wav, **options)
    assert list(answer.feature_values) == list(FEATURE_NAMES)
    assert answer.model == hosted.digest
    assert answer.features == "client"
    assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)
    assert answer.best.probability == max(answer.probabilities)
    assert [one.label for one in answer.top(10)] != list(answer.labels)
    stated = verify_receipt(
        answer.receipt or "",
        ask("receipt_keys"),
        answer=answer.body,
        sound=short_wav,
        model=hosted.digest,
    )
    assert stated.csv == digest_of(csv.encode())


def test_a_model_from_its_registration_to_its_end(ask: Asker, tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(noise(3000))
    seen: list[tuple[int, int]] = []
    new = ask("register", digest_of(path.read_bytes()), {"task": "tensors"})
    assert (new.state, new.manifest, new.promoted) == ("registered", {"task": "tensors"}, None)
    with pytest.raises(problems.ModelRejected, match="no Keras model"):
        ask("push", path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3000), (3000, 3000)]
    found = ask("model", new.digest)
    assert (found.state, found.registered) == ("rejected", new.registered)
    assert new.digest in {one.digest for one in ask("models", state="rejected")}
    assert ask("remove", found) is None
    with pytest.raises(problems.ModelNotFound):
        ask("model", new)


def test_a_frontend_computes_what_a_model_is_fed_with(ask: Asker, short_wav: bytes) -> None:
    kinds = {one.id: one.kind for one in ask("frontends")}
    assert kinds["gtzan-58@1"] == "row"
    row = ask("compute", "gtzan-58@1", short_wav)
    assert (row.shape, row.names) == ((58,), FEATURE_NAMES)
    assert row.data[0] == 661794
    picture = ask("compute", "mel-235x335@1", short_wav, height=8, width=9)
    assert (picture.shape, len(picture.data)) == ((8, 9, 1), 72)
    assert picture.window == row.window
    with pytest.raises(problems.FrontendNotFound):
        ask("compute", "x@1", short_wav)


# either kind


def test_the_second_push_of_a_model_sends_no_byte_of_it(
    server: Server, hosted: Model, tiny: TinyModels, kind: str
) -> None:
    sent: list[tuple[str, str]] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append((request.method, request.url.path))
            return super().handle_request(request)

    class CountingToo(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            sent.append((request.method, request.url.path))
            return await super().handle_async_request(request)

    made = Counting if kind == "sync" else CountingToo
    ask = Asker(server, HMAC, kind, transport=made(verify=server.tls()))
    seen: list[tuple[int, int]] = []
    again = ask("push", tiny.path("two.h5"), progress=lambda *told: seen.append(told))
    assert again.state == "ready"
    where = f"/v1/models/{hosted.digest}"
    assert sent == [("POST", "/v1/models"), ("HEAD", f"{where}/file"), ("GET", where)]
    assert seen == [(again.bytes, again.bytes)]


def test_a_large_file_gets_there_over_a_line_that_is_cut(
    server: Server, tmp_path: Path, noise: Noise, kind: str
) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(noise(6 << 20))
    seen: list[int] = []
    with CuttingLine(server, cuts=3, after=2 << 20) as line:
        ask = Asker(server, HMAC, kind).through(line.url)
        model = ask("push", path, wait_s=0, progress=lambda done, _: seen.append(done))
    assert model.digest == digest_of(path.read_bytes())
    assert model.digest in server.stored()
    assert line.was_cut == 3
    assert seen.count(0) > 3


@pytest.mark.parametrize("auth", ["itsdangerous", "hmac", "bearer"], indirect=True)
def test_a_file_in_parts_goes_on_where_a_cut_line_has_left_it(
    server: Server,
    ask: Asker,
    tmp_path: Path,
    noise: Noise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spectrogrampredictor.uploads.PART_BYTES", 3 << 20)
    path = tmp_path / "model.h5"
    path.write_bytes(noise(10 << 20))
    seen: list[int] = []
    with CuttingLine(server, cuts=6, after=1 << 20) as line:
        model = ask.through(line.url)(
            "push", path, wait_s=0, progress=lambda done, _: seen.append(done)
        )
    assert model.digest == digest_of(path.read_bytes())
    assert model.digest in server.stored()
    assert line.was_cut == 6
    assert seen.count(0) == 1  # it never began anew
    assert seen[-1] == 10 << 20


def test_an_upload_that_was_stopped_goes_on_later(
    server: Server, kind: str, tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrogrampredictor.uploads.PART_BYTES", 1 << 20)
    path, memory = tmp_path / "model.h5", tmp_path / "cache" / "uploads"
    path.write_bytes(noise(4 << 20))
    ask = Asker(server, HMAC, kind)

    class Stopped(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done >= 2 << 20:
            raise Stopped

    with pytest.raises(Stopped):
        ask("push", path, wait_s=0, progress=stop, resume_in=memory)
    assert len(list(memory.iterdir())) == 1
    seen: list[int] = []
    ask("push", path, wait_s=0, progress=lambda done, _: seen.append(done), resume_in=memory)
    assert min(seen) >= 1 << 20
    assert digest_of(path.read_bytes()) in server.stored()
    assert list(memory.iterdir()) == []


def test_an_upload_that_the_server_has_forgotten_begins_anew(
    server: Server, kind: str, tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrogrampredictor.uploads.PART_BYTES", 1 << 20)
    path = tmp_path / "model.h5"
    path.write_bytes(noise(3 << 20))
    digest = digest_of(path.read_bytes())
    Memory(tmp_path / "cache", str(httpx.URL(server.api + "/"))).keep(
        digest, "/v1/uploads/" + "0" * 32
    )
    Asker(server, HMAC, kind)("push", path, wait_s=0, resume_in=tmp_path / "cache")
    assert digest in server.stored()


def test_a_file_that_changes_on_its_way_is_refused(
    server: Server, kind: str, tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrogrampredictor.uploads.PART_BYTES", 1 << 20)
    path, memory = tmp_path / "model.h5", tmp_path / "cache"
    path.write_bytes(noise(3 << 20))

    def alter(done: int, _: int) -> None:
        if done == 0:
            with path.open("r+b") as file:
                file.seek(2 << 20)
                file.write(b"another model")

    with pytest.raises(problems.DigestMismatch):
        Asker(server, HMAC, kind)("push", path, wait_s=0, progress=alter, resume_in=memory)
    assert list(memory.iterdir()) == []


class CuttingLine:
    """Passes bytes on, and resets the connection that has sent too many, a few times."""

    def __init__(self, server: Server, *, cuts: int, after: int) -> None:
        self._to = httpx.URL(server.api)
        self._cuts, self._after = cuts, after
        self.was_cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "CuttingLine":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.create_connection((self._to.host, self._to.port or 443))
            self._open += [ours, theirs]
            for ends in ((ours, theirs), (theirs, ours)):
                self._threads.append(threading.Thread(target=self._pass_on, args=ends))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        try:
            while piece := source.recv(1 << 16):
                target.sendall(piece)
                passed += len(piece)
                if passed > self._after and self.was_cut < self._cuts:
                    self.was_cut += 1
                    break
        except OSError:
            pass  # the other direction has closed it
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def test_a_manifest_may_lie_in_a_file(by_hmac: Asker, tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"task": "tensors"}))
    assert by_hmac("register", digest_of(noise(8)), path).manifest == {"task": "tensors"}
    path.write_text(json.dumps({"task": "flying"}))
    with pytest.raises(problems.BadManifest):
        by_hmac("register", digest_of(noise(8)), str(path))


def test_a_key_that_may_not_read_pushes_too(
    server: Server, tmp_path: Path, noise: Noise, kind: str
) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(noise(2000))
    ask = Asker(server, HmacKey("few", SECRET), kind)
    for _ in range(2):
        assert ask("push", path).digest in server.stored()


def test_a_model_is_switched_off_and_on(
    by_hmac: Asker, hosted: Model, short_wav: bytes, tmp_path: Path
) -> None:
    assert by_hmac("disable", hosted, "it hallucinates").reason == "it hallucinates"
    with pytest.raises(problems.ModelDisabled, match="it hallucinates"):
        by_hmac("predict", hosted, short_wav)
    with pytest.raises(problems.ModelDisabled, match="it hallucinates"):
        by_hmac("wait", hosted)
    assert by_hmac("enable", hosted.digest).state == "ready"
    sound = tmp_path / "song.wav"
    sound.write_bytes(short_wav)
    one, two = (by_hmac("predict", hosted, given).probabilities for given in (sound, short_wav))
    assert difference(one, two) < 1e-6


def test_a_name_is_moved_by_who_saw_it_last(by_hmac: Asker, hosted: Model, noise: Noise) -> None:
    name, other = f"best-{digest_of(noise(8))[:8]}", digest_of(noise(8))
    by_hmac("register", other)
    first = by_hmac("set_alias", name, hosted)
    assert (first.digest, first.previous) == (hosted.digest, None)
    assert by_hmac("alias", name) == first
    with pytest.raises(problems.PreconditionFailed):
        by_hmac("set_alias", name, other)
    moved = by_hmac("set_alias", name, other, seen=first)
    with pytest.raises(problems.PreconditionFailed):
        by_hmac("set_alias", name, hosted, seen=first)
    assert moved.previous == hosted.digest
    back = by_hmac("roll_back_alias", name)
    assert back.digest == by_hmac("model", name).digest == hosted.digest
    assert name in by_hmac("model", hosted).aliases
    (listed,) = [one for one in by_hmac("aliases") if one.name == name]
    with pytest.raises(ValueError, match="look it up"):
        by_hmac("remove_alias", listed)
    by_hmac("remove_alias", back)
    with pytest.raises(problems.AliasNotFound):
        by_hmac("alias", name)


def test_tensors_are_predicted(by_hmac: Asker, tiny: TinyModels) -> None:
    model = by_hmac("push", tiny.path("two_rows.h5"), {"task": "tensors"})
    one, two = np.linspace(-1, 1, 116, dtype=np.float32).reshape(2, 58)
    answer = by_hmac("predict_tensors", model, {"one": one, "two": two.tolist()}, receipt=True)
    (output,) = answer.outputs.values()
    assert output.shape == (1, 10)
    assert sum(output.data) == pytest.approx(1, abs=1e-5)
    assert answer.probabilities == ()
    assert verify_receipt(answer.receipt, by_hmac("receipt_keys"), answer=answer.body)
    with pytest.raises(BadReceipt):
        verify_receipt(answer.receipt, by_hmac("receipt_keys"), answer=b"")


def test_a_long_sound_is_predicted_as_a_whole(ask: Asker, hosted: Model) -> None:
    sound = encode(song(40.0))
    mean, middle = ask("predict", hosted, sound, windows="mean"), ask("predict", hosted, sound)
    assert (mean.windows, middle.windows) == (2, 1)
    assert mean.window == "0-40 s of 40 s, mean of 2 windows"
    assert difference(mean.probabilities, middle.probabilities) > 1e-6


def test_several_sounds_are_answered_in_their_order(
    ask: Asker, hosted: Model, short_wav: bytes, tmp_path: Path
) -> None:
    other, bad = tmp_path / 'a "süß".wav', tmp_path / "bad.mp3"
    other.write_bytes(encode(song(2.0, seed=1)))
    bad.write_bytes(b"this is no sound")
    sounds = [short_wav, other, bad, b"", str(other)]
    found: list[Answered] = ask("predict_many", hosted, sounds, features=True)
    assert [one.name for one in found] == ["0", str(other), str(bad), "3", str(other)]
    for one, sound in zip(found, sounds, strict=True):
        if sound in (bad, b""):
            continue
        alone = ask("predict", hosted, sound)
        assert one.prediction is not None
        assert difference([*one.prediction.probabilities], alone.probabilities) < 1e-6
        assert list(one.prediction.feature_values) == list(FEATURE_NAMES)
    wrong = [one.problem for one in found if one.prediction is None]
    assert list(map(type, wrong)) == [problems.UnreadableSound, problems.EmptySound]
    assert str(wrong[0]).endswith("(unreadable-sound, 415)")


def test_each_of_several_sounds_may_have_its_row(
    ask: Asker, hosted: Model, tiny: TinyModels, short_wav: bytes, tmp_path: Path
) -> None:
    header = ",".join(FEATURE_NAMES) + "\n"
    rows = [[value * factor for value in tiny.row] for factor in (1.0, 0.9)]
    texts = [header + ",".join(map(repr, row)) + "\n" for row in rows]
    kept = tmp_path / "row.csv"
    kept.write_text(texts[1])
    found = ask("predict_many", hosted, [short_wav] * 4, csv=[texts[0], None, kept, "x"])
    assert [one.prediction and one.prediction.features for one in found] == [
        *("client", "derived", "client", None)
    ]
    for one, row in ((found[0], texts[0]), (found[2], kept)):
        alone = ask("predict", hosted, short_wav, csv=row)
        assert difference([*one.prediction.probabilities], [*alone.probabilities]) < 1e-6
    assert (
        difference([*found[0].prediction.probabilities], [*found[2].prediction.probabilities]) > 0
    )
    assert isinstance(found[3].problem, problems.BadSound)
    with pytest.raises(ValueError, match="shorter"):
        ask("predict_many", hosted, [short_wav] * 2, csv=[texts[0]])


def test_many_sounds_go_in_few_requests(
    server: Server, hosted: Model, short_wav: bytes, tmp_path: Path, kind: str
) -> None:
    """Sixty-four have room in a form, and 16 MB; who is over goes in one of its own."""
    sent: list[int] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(int(request.headers["Content-Length"]))
            return super().handle_request(request)

    class CountingToo(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(int(request.headers["Content-Length"]))
            return await super().handle_async_request(request)

    made = Counting if kind == "sync" else CountingToo
    ask = Asker(server, HMAC, kind, transport=made(verify=server.tls()))
    large = tmp_path / "large.wav"
    large.write_bytes(encode(song(20.0), subtype="DOUBLE") + bytes(15 << 20))
    found = ask("predict_many", hosted, [*[short_wav] * 70, large], windows="mean")
    assert len(found) == 71
    assert all(one.prediction is not None and one.prediction.windows == 1 for one in found)
    assert len(sent) == 3
    assert sent[2] == large.stat().st_size
    assert ask("predict_many", hosted, []) == []


def test_what_is_wrong_with_the_model_is_said_once(
    by_hmac: Asker, short_wav: bytes, tmp_path: Path
) -> None:
    for sounds in ([short_wav], [short_wav, short_wav]):
        with pytest.raises(problems.ModelNotFound):
            by_hmac("predict_many", "0" * 64, sounds)
    with pytest.raises(FileNotFoundError):
        by_hmac("predict_many", "0" * 64, [short_wav, tmp_path / "gone.wav"])


def test_what_is_wrong_with_a_sound_is_said(by_hmac: Asker, hosted: Model) -> None:
    for sound, fault in (
        (b"", problems.EmptySound),
        (b"this is no sound", problems.UnreadableSound),
    ):
        with pytest.raises(fault) as caught:
            by_hmac("predict", hosted, sound)
        assert caught.value.instance.startswith("urn:request:")


def test_a_sweep_promotes(by_hmac: Asker, server: Server, noise: Noise) -> None:
    model = noise(500)
    by_hmac("register", digest_of(model))
    server.upload(model)
    assert digest_of(model) in by_hmac("sweep").promoted


def test_a_token_is_good_for_what_it_was_made_for(
    by_hmac: Asker, server: Server, hosted: Model, short_wav: bytes, kind: str
) -> None:
    token = by_hmac("mint_token", ["predict"], models=hosted.digest[:8] + "*", ttl_s=60)
    ask = Asker(server, BearerToken(token.token), kind)
    assert ask("predict", hosted, short_wav).model == hosted.digest
    with pytest.raises(problems.ScopeMissing) as caught:
        ask("model", hosted)
    assert caught.value.members == {"scope": "read"}


def test_who_does_not_sign_is_refused(server: Server, hosted: Model, kind: str) -> None:
    for auth in (None, SigningToken("x" * 32), HmacKey("all", b"y" * 32), BearerToken("z")):
        with pytest.raises(problems.BadSignature):
            Asker(server, auth, kind)("model", hosted)


def test_a_certificate_of_somebody_else_is_not_trusted(server: Server, kind: str) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        Asker(server, HMAC, kind, ca_file=None)("receipt_keys")


@pytest.fixture(scope="module")
def many(server: Server, noise: Noise) -> Iterator[set[str]]:
    with Client(server.api, HMAC, ca_file=server.ca) as client:
        yield {client.register(digest_of(noise(20))).digest for _ in range(5)}


def test_all_pages_are_looked_through(
    by_hmac: Asker, many: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("client", "asynchronous"):
        monkeypatch.setattr(f"spectrogrampredictor.{module}._PAGE", 2)
    listed = [one.digest for one in by_hmac("models", state="registered")]
    assert listed == sorted(listed)
    assert many <= set(listed)


def test_waiting_ends(by_hmac: Asker, many: set[str]) -> None:
    with pytest.raises(TimeoutError, match="still registered"):
        by_hmac("wait", next(iter(many)), wait_s=0.2)


def test_a_model_tells_its_story(by_hmac: Asker, hosted: Model) -> None:
    model = by_hmac("wait", hosted)
    assert (model.state, model.task, model.precision) == ("ready", "genre", "float32")
    assert model.registered <= model.promoted <= model.ready
    assert len(model.labels) == 10
    assert set(model.frontends) == {"gtzan-58@1", "kaggle-gtzan@1"}
