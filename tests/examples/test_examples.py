"""The examples, the README and the demo run as they stand."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.running import ROOT, said_by
from tests.flows.running import TOKEN, Server, fresh_copy

ORIGINAL = ROOT / "examples" / "original"
DEMO = ROOT / "examples" / "demo"
README_CODE = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("examples"), certificates).start()
    yield running
    running.close()


def run(server: Server, *command: str, **extra: str) -> str:
    environment = os.environ | {
        "BASE_URL": server.api,
        "UPLOAD_URL": server.uploads,
        "CA_FILE": str(server.ca),
        "SIGNING_TOKEN": TOKEN,
        "MODEL": str(DEMO / "genre.h5"),
        "SONG": str(DEMO / "own12s.flac"),
    }
    return said_by([sys.executable, *command], environment | extra, cwd=ROOT)


def test_the_original_scripts_work_one_after_the_other(server: Server, tmp_path: Path) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes(fresh_copy(DEMO / "genre.h5"))
    said = {
        name: run(server, str(ORIGINAL / f"{name}.py"), MODEL=str(model))
        for name in ("is_up", "register", "upload", "sweep", "upload_signed", "predict")
    }
    assert said["is_up"].startswith('{"msg":"hey there!"}')
    assert said["register"] == "200 model hash stored\n"
    assert said["upload"] == "200 file uploaded!\n"
    assert said["sweep"].startswith("200 ['")
    assert said["upload_signed"].startswith("200 {'msg': 'model saved'")
    assert said["predict"].startswith("200 {'array': [[0.")


def test_the_prediction_takes_a_feature_row_from_a_file(server: Server, tmp_path: Path) -> None:
    wrong = tmp_path / "row.csv"
    wrong.write_text("length\n661794\n")
    run(server, str(ORIGINAL / "upload_signed.py"))
    assert run(server, str(ORIGINAL / "predict.py"), CSV=str(wrong)).startswith("422 ")


def test_the_stock_client_of_triton_names_three_genres(server: Server) -> None:
    pytest.importorskip("tritonclient.http", reason="needs the test extra")
    run(server, str(ORIGINAL / "upload_signed.py"))
    digest = hashlib.sha256((DEMO / "genre.h5").read_bytes()).hexdigest()
    said = run(server, "examples/triton_client.py", MODEL_DIGEST=digest)
    assert re.fullmatch(r"([a-z]+ +0\.\d{4}\n){3}", said)


@pytest.mark.parametrize("code", README_CODE)
def test_the_code_of_the_readme_works(server: Server, code: str) -> None:
    answer = run(server, "-c", code)
    numbers = r"\[\[(0\.\d+(e-\d+)?(, )?){10}\]\]\n"
    labels = r"\[(Label\(label='[a-z]+', probability=0\.\d+\)(, )?){3}\]\n"
    assert re.fullmatch(f"{numbers}|{labels}", answer)


def test_the_demo_prints_ten_labelled_probabilities() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bars = re.findall(r"^  ([a-z]+) +(\d\.\d{4})", done.stdout, re.M)
    assert len(bars) == 10
    assert sum(float(value) for _, value in bars) == pytest.approx(1, abs=1e-3)
    assert "server stopped (exit code 0)" in done.stdout


def test_the_demo_explains_itself() -> None:
    shown = subprocess.run(
        [str(ROOT / "scripts" / "demo"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--keep" in shown.stdout
