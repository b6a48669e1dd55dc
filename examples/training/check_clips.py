"""Ask the demo model about sounds, through the server's own frontends.

    python -m examples.training.check_clips

in the checkout: the GTZAN clips at hand, counted by the list they are in, then the demo song. The
model was trained on the published table and pictures; here both are computed from the sound, as
the server does it, and the published picture is put in the drawn one's place to compare. Sounds
named as arguments are asked about instead.
"""

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from server.audio.decode import decode
from server.audio.frontends import FRONTENDS, PictureFrontend, RowFrontend
from server.audio.window import WindowRule

_DEMO = Path(__file__).resolve().parent.parent / "demo"


def calls_of(sound: Path) -> dict[str, NDArray[np.float32]]:
    """Return what the server feeds the model for a sound's 30 s window.

    Parameters
    ----------
    sound : Path
        Any sound file that the server reads.

    Returns
    -------
    dict
        `features` (1, 58) and `spectrogram` (1, 235, 335, 1).
    """
    row, picture = FRONTENDS["gtzan-58@1"], FRONTENDS["kaggle-gtzan@1"]
    if not isinstance(row, RowFrontend) or not isinstance(picture, PictureFrontend):
        raise TypeError("the server's table of frontends has changed")
    y = decode(sound.read_bytes(), rule=WindowRule()).y
    return {
        "features": row.compute(y).astype(np.float32)[None],
        "spectrogram": picture.compute(y, 235, 335)[None],
    }


def published_pictures(file: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the published pictures by the name of their clip.

    Parameters
    ----------
    file : Path
        ``pictures_235x335_u8.npz``.

    Returns
    -------
    dict
        For example ``{"blues00012": ...}``, each (235, 335).
    """
    with np.load(file) as archive:
        names = [Path(str(name)).stem for name in archive["names"]]
        return dict(zip(names, archive["pictures"], strict=True))


def lists(folder: Path) -> dict[str, str]:
    """Return which list each GTZAN clip is in, by its file name.

    Parameters
    ----------
    folder : Path
        Holds ``train_filtered.txt``, ``valid_filtered.txt`` and ``test_filtered.txt``.

    Returns
    -------
    dict
        For example ``{"blues.00012.wav": "test"}``.
    """
    return {
        Path(line).name: which
        for which in ("train", "valid", "test")
        for line in (folder / f"{which}_filtered.txt").read_text().split()
    }


def main() -> None:
    """Print the answers and count the right ones."""
    options = _options()
    console = Console()
    model = keras.saving.load_model(options.model, compile=False, safe_mode=True)
    genres: list[str] = json.loads((_DEMO / "manifest.json").read_text())["labels"]
    gtzan: Path = options.data
    member = lists(gtzan / "split")
    clips = sorted((gtzan / "wav").glob("*.wav"))
    sounds = options.sounds or [*clips, _DEMO / "own12s.flac"]
    pictures = {} if options.sounds else published_pictures(gtzan / "pictures_235x335_u8.npz")
    right: defaultdict[str, list[bool]] = defaultdict(list)
    same: list[bool] = []
    for sound in track(sounds, "sounds", console=console):
        call = calls_of(sound)
        answer = model.predict_on_batch(call)[0]
        best = int(answer.argmax())
        said = ", ".join(f"{genres[k]} {answer[k]:.3f}" for k in np.argsort(answer)[::-1][:4])
        label = sound.name.partition(".")[0]
        if label in genres:
            which = member.get(sound.name, "no list")
            right[which].append(genres[best] == label)
            said += f"  ({which})"
        published = pictures.get(sound.stem.replace(".", ""))
        if published is not None:
            call["spectrogram"] = published[None, ..., None].astype(np.float32)
            same.append(int(model.predict_on_batch(call)[0].argmax()) == best)
        console.print(f"{sound.name:20} {said}", highlight=False, soft_wrap=True)
    for which, answers in right.items():
        console.print(f"{which}: {sum(answers)} of {len(answers)} right", highlight=False)
    if same:
        console.print(f"same genre by the published picture: {sum(same)} of {len(same)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("SHARED_DATA", _DEMO.parents[2] / "shared" / "data"))
    parser.add_argument("sounds", nargs="*", type=Path, help="other sounds to ask about")
    parser.add_argument(
        "--data",
        type=Path,
        default=shared / "gtzan",
        help="folder with wav/, split/ and the published pictures "
        "(default: gtzan/ in $SHARED_DATA, or in ../shared/data beside the checkout)",
    )
    parser.add_argument(
        "--model", type=Path, default=_DEMO / "genre.h5", help="default: examples/demo/genre.h5"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
