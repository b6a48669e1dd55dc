"""The networks that Keras ships pass the gate, and it counts their weights as Keras does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.gate.judge import judge

ROOT = Path(__file__).parents[2]
# from the table of https://keras.io/api/applications, in millions
PUBLISHED = {
    "MobileNetV2": 3.5,
    "EfficientNetB0": 5.3,
    "DenseNet121": 8.1,
    "NASNetMobile": 5.3,
    "InceptionV3": 23.9,
    "Xception": 22.9,
    "ResNet50": 25.6,
    "ResNet101V2": 44.7,
    "InceptionResNetV2": 55.9,
    "ConvNeXtTiny": 28.6,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_networks_of_keras_pass(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="needs the keras extra")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gate.applications", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {path.stem: judge(path).cost.parameters for path in tmp_path.glob("*.keras")}
    assert len(found) == 19
    for name, millions in PUBLISHED.items():
        assert found[name] / 1e6 == pytest.approx(millions, abs=0.06)
