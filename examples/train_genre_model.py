"""Train the two-input genre model of the demo (examples/demo/genre.h5).

    python examples/train_genre_model.py            seeds 1, 2, 3; the test list stays shut
    python examples/train_genre_model.py --test     the same, then the test list, once a seed
    python examples/train_genre_model.py --seed 7 --epochs 2 --towers 1 --out /tmp/try.h5

Everything is chosen by the validation list. The test list is opened only by --test, once for each
seed, after all training. The model kept is that of the seed with the smallest validation loss.

The same seed gives the same file on the same machine and release of TensorFlow; another processor
may round differently, and training carries that on.
"""

import argparse
import logging
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from training.fitting import Floats, Score, fit_tower, inputs_of, pass_front, score
from training.gtzan import Clips, load_clips
from training.towers import Model, build_front, join

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Trained:
    """One seed's model and its score on the validation list."""

    seed: int
    model: Model
    valid: Score


def main() -> None:
    """Train, choose by validation, report and save."""
    options = _options()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    # The one warns of the small functions compiled here, the other of the old format, asked for.
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    console = Console()
    train, valid = (load_clips(options.data, which) for which in ("train", "valid"))
    trained = [
        train_model(
            train, valid, seed=seed, epochs=options.epochs, towers=options.towers, console=console
        )
        for seed in options.seeds
    ]
    best = min(trained, key=lambda one: one.valid.loss)
    test = load_clips(options.data, "test") if options.test else None
    _report(console, trained, test)
    save(best.model, options.out)
    console.print(f"Kept seed {best.seed} (smallest validation loss): {options.out}")


def train_model(
    train: Clips, valid: Clips, *, seed: int, epochs: int, towers: int, console: Console
) -> Trained:
    """Train one model of several towers.

    Parameters
    ----------
    train, valid : Clips
        What is learned, and what is only looked at.
    seed : int
        Tower k of seed s is trained with the seed 100 s + k.
    epochs : int
        For each tower.
    towers : int
        How many answers are averaged.
    console : Console
        Where the progress bars go.

    Returns
    -------
    Trained
        With the score of the joined model.
    """
    front = build_front(train.features)
    seen, seen_valid = pass_front(front, train), pass_front(front, valid)
    members = []
    with _progress(console) as progress:
        for k in range(1, towers + 1):
            task = progress.add_task(f"seed {seed} tower {k}/{towers}", total=epochs, note="")
            watch = _Watch(progress, task, seen_valid, valid)
            members.append(
                fit_tower(
                    front,
                    seen,
                    train.labels,
                    seed=100 * seed + k,
                    epochs=epochs,
                    after_epoch=watch,
                )
            )
    model = join(front, members)
    return Trained(seed, model, _score(model, valid))


def save(model: Model, path: Path) -> None:
    """Write the model without anything of its training; the file appears whole.

    Parameters
    ----------
    model : keras.Model
        Never compiled, so there is no optimizer to keep.
    path : Path
        Ends in ``.h5``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished.h5")
    model.save(unfinished, include_optimizer=False)
    unfinished.replace(path)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Moves one progress bar on and shows how the tower does on the validation list."""

    progress: Progress
    task: TaskID
    seen: list[Floats]
    valid: Clips

    def __call__(self, tower: Model) -> None:
        now = score(tower, self.seen, self.valid.labels)
        note = f"valid {now.accuracy:.3f} loss {now.loss:.3f}"
        self.progress.update(self.task, advance=1, note=note)


def _score(model: Model, clips: Clips) -> Score:
    return score(model, inputs_of(clips), clips.labels)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _report(console: Console, trained: list[Trained], test: Clips | None) -> None:
    table = Table("seed", "valid accuracy", "valid loss", "test accuracy", "test loss")
    tests = []
    for one in trained:
        cells = [str(one.seed), f"{one.valid.accuracy:.3f}", f"{one.valid.loss:.3f}"]
        if test is not None:
            tests.append(_score(one.model, test))
            cells += [f"{tests[-1].accuracy:.3f} +- {tests[-1].error:.3f}", f"{tests[-1].loss:.3f}"]
        table.add_row(*cells)
    console.print(table)
    if tests:
        accuracies = [one.accuracy for one in tests]
        console.print(
            f"test accuracy, {len(tests)} seeds: mean {np.mean(accuracies):.3f}, "
            f"standard deviation {np.std(accuracies, ddof=min(1, len(tests) - 1)):.3f}; "
            f"+- is the 95 % interval of one model at {tests[0].clips} clips"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = Path(os.environ.get("SHARED_DATA", _ROOT.parent / "shared" / "data"))
    parser.add_argument(
        "--data",
        type=Path,
        default=shared / "gtzan",
        help="folder with features_30_sec.csv, pictures_235x335_u8.npz and split/ "
        "(default: gtzan/ in $SHARED_DATA, or in ../shared/data beside the checkout)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=_ROOT / "examples" / "demo" / "genre.h5",
        help="where the model goes (default: examples/demo/genre.h5)",
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seeds", type=_seeds, default=[1, 2, 3], metavar="1,2,3", help="seeds (default: 1,2,3)"
    )
    seeds.add_argument("--seed", type=_seeds, dest="seeds", metavar="N", help="one seed alone")
    parser.add_argument("--epochs", type=int, default=30, help="for each tower (default: 30)")
    parser.add_argument("--towers", type=int, default=3, help="averaged (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="of TensorFlow (default: 2)")
    parser.add_argument("--test", action="store_true", help="open the test list at the end")
    options = parser.parse_args()
    if not (options.data / "features_30_sec.csv").is_file():
        parser.error(f"no features_30_sec.csv in {options.data}; name the folder with --data")
    return options


def _seeds(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
