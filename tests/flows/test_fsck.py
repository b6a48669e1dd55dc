"""`python -m server fsck` and the scrub of a running server: a flipped byte is found and named."""

from collections.abc import Callable

import pytest

from tests.flows.running import Server, digest_of, problem_of, wait_until

Noise = Callable[[int], bytes]
NewServer = Callable[..., Server]


@pytest.fixture
def stopped(new_server: NewServer, noise: Noise) -> tuple[Server, str]:
    """Return a server that was stopped, and a model that it holds."""
    server = new_server(INTAKE_TIMEOUT_S="0.1").start()
    digest = server.host(noise(5000))
    assert server.stop() == 0
    return server, digest


def flip(server: Server, digest: str) -> None:
    path = server.models / digest
    data = bytearray(path.read_bytes())
    data[2500] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)


def test_a_sound_repository_ends_with_0(stopped: tuple[Server, str]) -> None:
    server, _ = stopped
    done = server.run("fsck")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 faults, 0 repaired\n", "")


def test_a_flipped_byte_is_named_with_1(stopped: tuple[Server, str]) -> None:
    server, digest = stopped
    flip(server, digest)
    done = server.run("fsck")
    assert done.returncode == 1
    assert done.stdout == f"damaged model: {digest}\n1 faults, 0 repaired\n"
    assert digest in server.stored()


def test_a_repaired_model_says_that_it_must_be_uploaded_again(
    stopped: tuple[Server, str], short_wav: bytes
) -> None:
    server, digest = stopped
    flip(server, digest)
    done = server.run("fsck", "--repair")
    assert done.returncode == 0
    assert done.stdout == f"damaged model: {digest} (repaired)\n1 faults, 1 repaired\n"
    assert server.run("fsck").returncode == 0
    answer = server.start().predict(digest, short_wav)
    assert problem_of(answer, 409) == "model-not-uploaded"
    assert "damaged" in answer.json()["detail"]


def test_fsck_beside_a_running_server_is_refused_with_2(new_server: NewServer) -> None:
    server = new_server().start()
    done = server.run("fsck", "--repair")
    assert done.returncode == 2
    assert "stop it first" in done.stderr


def test_fsck_of_folders_that_cannot_be_used_ends_with_2(new_server: NewServer) -> None:
    server = new_server()
    server.models.write_text("no folder")
    done = server.run("fsck")
    assert done.returncode == 2
    assert "MODELS_DIR" in done.stderr


def test_a_folder_that_is_named_like_litter_is_left_to_a_person(new_server: NewServer) -> None:
    server = new_server()
    folder = server.models / ".part-folder"
    folder.mkdir(parents=True)
    for _ in range(2):
        done = server.run("fsck", "--repair")
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith("litter: .part-folder\n")
    folder.rmdir()
    assert server.run("fsck").returncode == 0


def test_fsck_of_a_registry_that_does_not_open_ends_with_2(new_server: NewServer) -> None:
    server = new_server()
    server.models.mkdir()
    (server.models / "registry.sqlite3").write_bytes(b"no registry " * 1000)
    done = server.run("fsck")
    assert done.returncode == 2
    assert "not a database" in done.stderr


def test_the_help_says_what_the_exit_status_means(new_server: NewServer) -> None:
    done = new_server().run("fsck", "--help")
    assert "exit status:\n  0  all is well" in done.stdout


def test_a_running_server_finds_a_flipped_byte(
    new_server: NewServer, noise: Noise, short_wav: bytes
) -> None:
    server = new_server(INTAKE_TIMEOUT_S="0.1", SCRUB_INTERVAL_S="1").start()
    content = noise(5000)
    digest = server.host(content)
    flip(server, digest)
    wait_until(lambda: scrubbed(server)["damaged"] == 1, "the scrub has found it")
    answer = server.predict(digest, short_wav)
    assert problem_of(answer, 409) == "model-not-uploaded"
    assert "damaged" in answer.json()["detail"]
    server.upload(content)
    assert digest_of(content) in server.sweep()


def scrubbed(server: Server) -> dict[str, int]:
    counts: dict[str, int] = server.get("/readyz").json()["scrub"]
    return counts
