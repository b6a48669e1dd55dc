"""A server on a file system that is filled to the last byte: it refuses what it cannot keep."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.flows.conftest import TinyModels
from tests.flows.running import Server, digest_of, fresh_copy, probabilities, problem_of

SIZE_MB = 300  # of which the server keeps 256 MiB free


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount a small file system."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def settings(disk: Path) -> dict[str, str]:
    """Let models and uploads lie on the small file system; logs and scratch lie elsewhere."""
    return {"MODELS_DIR": str(disk / "models"), "UPLOADS_DIR": str(disk / "uploads_tmp")}


@pytest.fixture
def full(disk: Path) -> Iterator[None]:
    """Fill the file system while a test runs."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):  # there is no room for another piece
                while True:
                    file.write(bytes(size))
    yield
    filler.unlink()


@pytest.fixture(scope="module")
def model(server: Server, disk: Path, tiny: TinyModels, wav: bytes) -> str:
    """Host a model that answers."""
    server.models, server.uploads_tmp = disk / "models", disk / "uploads_tmp"
    digest = server.host(fresh_copy(tiny.path("sequential.h5")))
    probabilities(server.predict(digest, wav))
    return digest


@pytest.mark.usefixtures("model", "full")
@pytest.mark.parametrize("size", [500, 50_000])
def test_a_full_disk_refuses_unsigned_uploads(
    server: Server, noise: Callable[[int], bytes], size: int
) -> None:
    assert problem_of(server.upload(noise(size)), 507) == "storage-full"
    assert server.staged() == []


@pytest.mark.usefixtures("model", "full")
def test_a_full_disk_refuses_signed_uploads(server: Server, noise: Callable[[int], bytes]) -> None:
    content = noise(50_000)
    answer = server.upload_signed(content)
    assert problem_of(answer, 507) == "storage-full"
    assert int(answer.headers["retry-after"]) > 0
    assert digest_of(content) not in server.stored()


@pytest.mark.usefixtures("full")
def test_predictions_go_on(server: Server, model: str, wav: bytes) -> None:
    probabilities(server.predict(model, wav))


@pytest.mark.usefixtures("model", "full")
def test_what_reads_goes_on(server: Server) -> None:
    for path in ("/test", "/livez", "/readyz", "/hashmodels"):
        assert server.get(path).status_code == 200, path


@pytest.mark.usefixtures("model", "full")
def test_a_registration_is_kept_or_refused(server: Server, noise: Callable[[int], bytes]) -> None:
    answers = [server.register(digest_of(noise(100))) for _ in range(300)]
    statuses = {answer.status_code for answer in answers}
    assert 507 in statuses  # a few still fit into what the log has already taken
    assert statuses <= {200, 507}


@pytest.mark.usefixtures("model")
def test_with_room_again_everything_is_taken(server: Server, noise: Callable[[int], bytes]) -> None:
    content = noise(50_000)
    assert server.register(digest_of(content)).status_code == 200
    assert server.upload(content).status_code == 200
    assert digest_of(content) in server.sweep()
