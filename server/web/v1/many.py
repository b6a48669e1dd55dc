"""Several sounds of one form, predicted side by side.

::

    Accept: application/x-ndjson    a line for each sound, as it is done
    else                            {"predictions": [...]}, in the order of the form

Each fails alone: what stands in its place says why.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from server.errors import Overload, ServerError
from server.inference.admission import Asker
from server.inference.predictor import Predictor, ReadyModel
from server.inference.preparation import Sound
from server.web.problems import describe
from server.web.v1.forms import FormSound
from server.web.v1.options import Options
from server.web.v1.outputs import told
from server.web.v1.schemas import (
    SoundPrediction,
    SoundPredictions,
    SoundRefusal,
)

NDJSON = "application/x-ndjson"
_SIDE_BY_SIDE = 4
Entry = SoundPrediction | SoundRefusal


class ManySounds:
    """Predicts the sounds of a form.

    Parameters
    ----------
    predictor : Predictor
        Does it.
    model : ReadyModel
        What with.
    options : Options
        What is told.
    asker : Asker
        Whose places are taken.
    row_of : sequence of str or None
        Names of every feature, where the row is to be told.
    all_windows : bool
        Whether the mean over all windows of each sound is wanted.
    """

    def __init__(
        self,
        predictor: Predictor,
        model: ReadyModel,
        options: Options,
        asker: Asker,
        row_of: Sequence[str] | None,
        *,
        all_windows: bool,
    ) -> None:
        self._predictor = predictor
        self._model = model
        self._options = options
        self._asker = asker
        self._row_of = row_of
        self._all_windows = all_windows

    async def all(self, sounds: Sequence[FormSound]) -> bytes:
        """Predict every sound; return them in the form of `SoundPredictions`."""
        async with aclosing(self._each(sounds)) as entries:
            found = {number: entry async for number, entry in entries}
        return msgspec.json.encode(SoundPredictions(predictions=[found[k] for k in sorted(found)]))

    async def lines(self, sounds: Sequence[FormSound]) -> AsyncGenerator[bytes, None]:
        """Predict every sound; yield a line of JSON for each as it is done."""
        async with aclosing(self._each(sounds)) as entries:
            async for _, entry in entries:
                yield msgspec.json.encode(entry) + b"\n"

    async def _each(self, sounds: Sequence[FormSound]) -> AsyncGenerator[tuple[int, Entry], None]:
        waiting = iter(enumerate(sounds))
        # no more places than one caller may have: nobody is refused for their own sounds
        most = min(_SIDE_BY_SIDE, self._predictor.share_of_one)
        running: set[asyncio.Task[tuple[int, Entry]]] = set()
        try:
            while True:
                while len(running) < most and (item := next(waiting, None)) is not None:
                    running.add(asyncio.ensure_future(self._one(*item)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, number: int, sound: FormSound) -> tuple[int, Entry]:
        given = Sound(sound.data, None, sound.csv or b"")
        try:
            prediction = await self._predictor.predict_sound(
                *(self._model, given),
                asker=self._asker,
                row_of=self._row_of,
                all_windows=self._all_windows,
            )
        except ServerError as error:
            return number, SoundRefusal(name=sound.name, problem=_problem(error))
        return number, told(self._model, prediction, self._options, name=sound.name)


def _problem(error: ServerError) -> dict[str, Any]:
    fields = describe(error)
    if isinstance(error, Overload):
        fields["retry_after_s"] = error.retry_after_s
    return fields
