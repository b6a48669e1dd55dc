"""Train one tower and score a model.

A tower sees each clip again in every epoch, a little different each time: the picture turned round
in time, a little lighter or darker; the features with noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from training.gtzan import GENRES, Clips
from training.towers import Model, build_tower

BATCH = 32
_PEAK_RATE = 4e-3
_SMOOTHING = 0.1
_FEATURE_NOISE = 0.3
_PICTURE_NOISE = 0.03

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Score:
    """How a model does on one list.

    Attributes
    ----------
    right : int
        Clips whose largest probability is the label's.
    clips : int
        Clips in the list.
    loss : float
        Mean negative logarithm of the label's probability, in nats.
    """

    right: int
    clips: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1."""
        return self.right / self.clips

    @property
    def error(self) -> float:
        """Half width of the 95 % interval of the accuracy, by the binomial distribution."""
        return 1.96 * float(np.sqrt(self.accuracy * (1 - self.accuracy) / self.clips))


def score(model: Model, inputs: list[Floats], labels: NDArray[np.intp]) -> Score:
    """Compare a model's answers with the labels.

    Parameters
    ----------
    model : keras.Model
        Its output is (n, 10).
    inputs : list of np.ndarray
        In the model's order.
    labels : np.ndarray, shape (n,), int
        Places in `GENRES`.

    Returns
    -------
    Score
        Of these clips.
    """
    (answers,) = run(model, inputs)
    of_label = np.maximum(answers[np.arange(len(labels)), labels], 1e-12)
    right = int(np.count_nonzero(answers.argmax(axis=1) == labels))
    return Score(right, len(labels), float(-np.log(of_label).mean()))


def pass_front(front: Model, clips: Clips) -> list[Floats]:
    """Compute what the towers see of some clips.

    Parameters
    ----------
    front : keras.Model
        As made by `training.towers.build_front`.
    clips : Clips
        The clips.

    Returns
    -------
    list of np.ndarray
        (n, 57) and (n, 36, 333, 1), float32.
    """
    return run(front, inputs_of(clips))


def inputs_of(clips: Clips) -> list[Floats]:
    """Return the features and pictures of some clips as the finished model takes them.

    Parameters
    ----------
    clips : Clips
        The clips.

    Returns
    -------
    list of np.ndarray
        (n, 58) and (n, 235, 335, 1), float32.
    """
    return [clips.features, clips.pictures.astype(np.float32)]


def run(model: Model, inputs: list[Floats]) -> list[Floats]:
    """Compute a model's outputs, batch by batch.

    Parameters
    ----------
    model : keras.Model
        Any.
    inputs : list of np.ndarray
        In the model's order.

    Returns
    -------
    list of np.ndarray
        One for each output.
    """
    # Not `predict`: it makes a data pipeline each time, which is slower than these small models.
    starts = range(0, len(inputs[0]), BATCH)
    batches = [model.predict_on_batch([x[k : k + BATCH] for x in inputs]) for k in starts]
    if len(model.outputs) == 1:
        return [np.concatenate(batches)]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def fit_tower(
    front: Model,
    seen: list[Floats],
    labels: NDArray[np.intp],
    *,
    seed: int,
    epochs: int,
    after_epoch: Callable[[Model], None],
) -> Model:
    """Train one tower.

    Parameters
    ----------
    front : keras.Model
        Only its shapes are used.
    seen : list of np.ndarray
        The training list as given by `pass_front`.
    labels : np.ndarray, shape (n,), int
        Places in `GENRES`.
    seed : int
        Of the first weights, the order, the dropout and the changes to the clips.
    epochs : int
        Passes over the list; the learning rate ends near zero, and the last weights are kept.
    after_epoch : callable
        Called with the tower after each epoch.

    Returns
    -------
    keras.Model
        The trained tower.
    """
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    tower = build_tower(front)
    steps = epochs * -(-len(labels) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        _PEAK_RATE / 10,
        max(1, steps * 9 // 10),
        warmup_target=_PEAK_RATE,
        warmup_steps=steps // 10,
        alpha=0.01,
    )
    tower.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4),
        keras.losses.CategoricalCrossentropy(label_smoothing=_SMOOTHING),
        # XLA takes 8 s to compile and saves nothing here.
        jit_compile=False,
    )
    targets = np.eye(len(GENRES), dtype=np.float32)[labels]
    for _ in range(epochs):
        order = rng.permutation(len(labels))
        rows, pictures = (array[order] for array in seen)
        changed = [_change_rows(rows, rng), np.stack([_change(x, rng) for x in pictures])]
        answers = targets[order]
        for k in range(0, len(order), BATCH):
            part = slice(k, k + BATCH)
            tower.train_on_batch([array[part] for array in changed], answers[part])
        after_epoch(tower)
    return tower


def _change_rows(rows: Floats, rng: np.random.Generator) -> Floats:
    return rows + rng.normal(0, _FEATURE_NOISE, rows.shape).astype(np.float32)


def _change(picture: Floats, rng: np.random.Generator) -> Floats:
    """Change one picture (rows, columns, 1), values within +-1."""
    picture = np.roll(picture, rng.integers(picture.shape[1]), axis=1)
    gain, offset = rng.normal((1, 0), _PICTURE_NOISE).astype(np.float32)
    changed: Floats = np.clip((picture + 1) * gain + offset - 1, -1, 1)
    return changed
