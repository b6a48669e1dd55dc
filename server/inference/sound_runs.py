"""A model run on a sound: once, or over every window of it.

::

    once    sound --preparation--> tensors --worker--> outputs --decoder--> reply
    mean    the same for eight windows at a time, until all have answered; then their mean
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from server.digest import Digest
from server.errors import UnusableInput
from server.inference.frames import Message, Part
from server.inference.pool import ChildPool
from server.inference.prediction import Prediction, checked_reply
from server.inference.preparation import Preparation, Prepared, Sound
from server.inference.row_beside import take_row, with_row
from server.inference.statistics import ModelStatistics, timed
from server.inference.workers import ModelWorkers


class SoundRuns:
    """Runs models on sounds.

    Parameters
    ----------
    preparation : Preparation
        Turns sounds into tensors.
    decoders : ChildPool
        Turn outputs into replies.
    workers : ModelWorkers
        Run the models.
    """

    def __init__(
        self, preparation: Preparation, decoders: ChildPool, workers: ModelWorkers
    ) -> None:
        self._preparation = preparation
        self._decoders = decoders
        self._workers = workers

    async def once(
        self,
        digest: Digest,
        record: Mapping[str, Any],
        sound: Sound,
        counted: ModelStatistics,
        row_of: Sequence[str] | None,
    ) -> Prediction:
        """Run a model on the window of a sound.

        Parameters
        ----------
        digest, record : Digest and mapping
            The model, and what intake found of it.
        sound : Sound
            What from.
        counted : ModelStatistics
            Counts how long it takes.
        row_of : sequence of str or None
            Names of every feature, where the row is to be answered as well.

        Raises
        ------
        ServerError
            What is wrong with the sound, or keeps the model from answering.
        """
        binding = record["binding"]
        with timed(counted.inputs):
            prepared = await self._prepared(sound, binding, row_of)
        outputs = await self._workers.predict(digest, record, prepared.tensors)
        with timed(counted.outputs):
            row, saturated = await self._reply(outputs, binding)
        return Prediction(
            array=[row],
            labels=binding["labels"],
            saturated=saturated,
            frontends=[item["frontend"] for item in binding["inputs"]],
            window=prepared.window,
            features=prepared.features,
            row=prepared.row,
        )

    async def mean(
        self, digest: Digest, record: Mapping[str, Any], sound: Sound, counted: ModelStatistics
    ) -> Prediction:
        """Run a model on every window of a sound, and take the mean of its answers.

        However long the sound is, the tensors of eight windows are held at a time. The answer is
        saturated when that of every window is.

        Raises
        ------
        UnusableInput
            If a feature row came with the sound: each window has its own.
        ServerError
            As `once`.
        """
        if sound.csv.strip():
            raise UnusableInput("every window has a feature row of its own: leave `csv` out")
        binding = record["binding"]
        replies: list[tuple[list[float], bool]] = []
        while True:
            with timed(counted.inputs):
                made = await self._preparation.prepare_windows(sound, binding, len(replies))
            rows = await self._workers.predict_rows(digest, record, made.rows)
            with timed(counted.outputs):
                replies += [await self._reply(outputs, binding) for outputs in rows]
            if len(replies) >= made.count:
                break
        answers = [row for row, _ in replies]
        several = f", mean of {made.count} windows" if made.count > 1 else ""
        return Prediction(
            array=[[math.fsum(column) / len(answers) for column in zip(*answers, strict=True)]],
            labels=binding["labels"],
            saturated=all(saturated for _, saturated in replies),
            frontends=[item["frontend"] for item in binding["inputs"]],
            window=made.window + several,
            features=made.features,
            windows=made.count,
        )

    async def _prepared(
        self, sound: Sound, binding: Mapping[str, Any], row_of: Sequence[str] | None
    ) -> Prepared:
        if row_of is None:
            return await self._preparation.prepare(sound, binding)
        wide = with_row(binding, row_of, is_given=bool(sound.csv.strip()))
        return take_row(await self._preparation.prepare(sound, wide), wide)

    async def _reply(
        self, outputs: Sequence[Part], binding: Mapping[str, Any]
    ) -> tuple[list[float], bool]:
        """Return the row of numbers that a model's outputs mean, and whether it is one-hot."""
        asked = {"op": "decode", "binding": binding}
        answer = await self._decoders.call(Message(asked, outputs), first=True)
        (row,), saturated = checked_reply(answer.fields.get("reply"), binding)
        return row, saturated
