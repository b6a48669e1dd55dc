"""The demo model as committed, and its training on clips made up here."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the keras extra")
pytest.importorskip("pandas", reason="needs the train extra")
pytest.importorskip("rich", reason="needs the train extra")

import h5py
import keras
from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo"

# As a script sees it: its own folder is where it imports from.
sys.path.insert(0, str(ROOT / "examples"))
import train_genre_model as training_script  # noqa: E402  # found by the line above
from training.fitting import Score  # noqa: E402
from training.gtzan import GENRES, Clips, load_clips  # noqa: E402

pytestmark = [
    pytest.mark.timeout(120),
    # Keras 3.15 reads its variables as NumPy 1 did
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def committed() -> Any:
    return keras.saving.load_model(DEMO / "genre.h5", compile=False, safe_mode=True)


@pytest.fixture
def calls() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    features = rng.normal(1000, 500, (4, 58)).astype(np.float32)
    pictures = rng.integers(0, 256, (4, 235, 335, 1)).astype(np.float32)
    return {"features": features, "spectrogram": pictures}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data folder in the published form: 20 clips in each list, jazz.00054 among them."""
    tmp_path = tmp_path_factory.mktemp("gtzan")
    rng = np.random.default_rng(3)
    names = [f"{genre}.{number:05}" for number in range(49, 55) for genre in GENRES]
    columns = [f"column{k}" for k in range(58)]
    rows = [
        ",".join([f"{name}.wav", *(f"{x:.3f}" for x in rng.normal(size=58)), name.split(".")[0]])
        for name in names
    ]
    header = ",".join(["filename", *columns, "label"])
    (tmp_path / "features_30_sec.csv").write_text("\n".join([header, *rows]) + "\n")
    drawn = [name.replace(".", "") + ".png" for name in names if name != "jazz.00054"]
    pictures = rng.integers(0, 256, (len(drawn), 235, 335)).astype(np.uint8)
    np.savez(tmp_path / "pictures_235x335_u8.npz", pictures=pictures, names=np.array(drawn))
    (tmp_path / "split").mkdir()
    for start, which in ((0, "train"), (20, "valid"), (40, "test")):
        listed = [f"{name.split('.')[0]}/{name}.wav" for name in names[start : start + 20]]
        (tmp_path / "split" / f"{which}_filtered.txt").write_text("\n".join(listed) + "\n")
    return tmp_path


def signature(model: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    inputs = [(tensor.name, tensor.shape) for tensor in model.inputs]
    return inputs, list(
        zip(model.output_names, [tuple(t.shape) for t in model.outputs], strict=True)
    )


SIGNATURE = (
    [("features", (None, 58)), ("spectrogram", (None, 235, 335, 1))],
    [("genre", (None, 10))],
)


def train(folder: Path, *, towers: int) -> Any:
    train, valid = load_clips(folder, "train"), load_clips(folder, "valid")
    console = Console(quiet=True)
    return training_script.train_model(
        train, valid, seed=1, epochs=1, towers=towers, console=console
    ).model


@pytest.fixture(scope="module")
def trained(made_up: Path) -> Any:
    return train(made_up, towers=2)


def test_the_committed_model_has_the_documented_signature(committed: Any) -> None:
    assert signature(committed) == SIGNATURE


def test_the_committed_model_is_small() -> None:
    assert (DEMO / "genre.h5").stat().st_size < 1_600_000


def test_the_committed_model_is_made_of_standard_layers_alone(committed: Any) -> None:
    modules = {type(layer).__module__ for layer in committed.layers}
    assert {module.partition(".")[0] for module in modules} == {"keras"}
    assert not {"Lambda", "Functional"} & {type(layer).__name__ for layer in committed.layers}


def test_the_committed_file_holds_no_optimizer() -> None:
    with h5py.File(DEMO / "genre.h5") as file:
        assert set(file) == {"model_weights"}
        assert "training_config" not in file.attrs


def test_the_manifest_names_the_models_tensors(committed: Any) -> None:
    manifest = json.loads((DEMO / "manifest.json").read_text())
    assert list(manifest["inputs"]) == [tensor.name for tensor in committed.inputs]
    assert manifest["output"] == "genre"
    assert manifest["labels"] == GENRES == sorted(GENRES)
    assert manifest["inputs"] == {
        "features": {"frontend": "gtzan-58@1"},
        "spectrogram": {"frontend": "kaggle-gtzan@1"},
    }


def test_answers_are_probabilities(committed: Any, calls: dict[str, Any]) -> None:
    answers = committed.predict(calls, verbose=0)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert answers.min() >= 0


@pytest.mark.parametrize("length", [0.0, 264_600.0, 1e12, -1e12, np.inf, np.nan])
def test_length_changes_no_bit_of_the_answer(
    committed: Any, calls: dict[str, Any], length: float
) -> None:
    before = committed.predict(calls, verbose=0)
    calls["features"][:, 0] = length
    assert np.array_equal(committed.predict(calls, verbose=0), before)


def test_white_frame_changes_no_bit_of_the_answer(committed: Any, calls: dict[str, Any]) -> None:
    before = committed.predict(calls, verbose=0)
    calls["spectrogram"][:, 217:] = 255
    calls["spectrogram"][:, :, 334:] = 255
    assert np.array_equal(committed.predict(calls, verbose=0), before)


def test_features_far_outside_the_table_do_not_make_the_answer_certain(
    committed: Any, calls: dict[str, Any]
) -> None:
    calls["features"] *= 1e9
    assert committed.predict(calls, verbose=0).max() < 0.999


def test_a_clip_without_picture_is_left_out(made_up: Path) -> None:
    assert len(load_clips(made_up, "test").labels) == 19


def test_clips_keep_the_order_of_their_list(made_up: Path) -> None:
    assert [GENRES[label] for label in load_clips(made_up, "valid").labels] == GENRES * 2


def test_training_gives_a_model_of_the_same_signature(trained: Any) -> None:
    assert signature(trained) == SIGNATURE


def test_the_towers_of_a_model_differ(trained: Any) -> None:
    first, second = (trained.get_layer(f"tower{k}_genre").get_weights()[0] for k in (1, 2))
    assert not np.allclose(first, second)


def test_the_same_seed_gives_the_same_tower(made_up: Path, trained: Any) -> None:
    names = ("tower1_row1", "tower1_block4_conv", "tower1_genre")
    again = train(made_up, towers=1)
    for name in names:
        first, second = (model.get_layer(name).get_weights()[0] for model in (trained, again))
        assert np.array_equal(first, second)


def test_a_saved_model_gives_the_same_answers(
    trained: Any, tmp_path: Path, calls: dict[str, Any]
) -> None:
    training_script.save(trained, tmp_path / "genre.h5")
    again = keras.saving.load_model(tmp_path / "genre.h5", compile=False, safe_mode=True)
    expected = trained.predict(calls, verbose=0)
    np.testing.assert_allclose(again.predict(calls, verbose=0), expected, atol=1e-6)


def test_the_error_is_that_of_the_binomial_distribution() -> None:
    # 1.96 sqrt(0.5 * 0.5 / 100), by hand
    assert Score(right=50, clips=100, loss=1.0).error == pytest.approx(0.098)


def test_figures_in_the_card_stand_under_the_command_that_makes_them() -> None:
    card = (DEMO / "MODEL_CARD.md").read_text()
    for section in card.split("\n## "):
        if "accuracy" in section and any(f"0.{digit}" in section for digit in range(10)):
            assert "python examples/train" in section or "python -m examples.training" in section


def test_made_up_clips_have_the_published_shapes(made_up: Path) -> None:
    clips = load_clips(made_up, "train")
    assert isinstance(clips, Clips)
    assert clips.features.shape == (20, 58)
    assert clips.pictures.shape == (20, 235, 335, 1)
