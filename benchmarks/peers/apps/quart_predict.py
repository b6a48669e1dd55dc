"""The original's way: a Quart handler that computes with librosa, draws with matplotlib, predicts.

The model is loaded once (the original loaded it for every request); everything else is what one
writes who follows the guides: `librosa.load` with its defaults, each feature by its own call, a
picture drawn by `specshow`, saved as PNG and read again, `model.predict` in the handler.
Takes the same requests as our server, and unsigned tensors.
"""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

import base64
import io
import os
from typing import Any

import itsdangerous
import keras
import librosa
import librosa.display
import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from PIL import Image
from quart import Quart, request

from benchmarks.peers.apps.rows import Row, from_fields, from_raw

mpl.use("Agg")
app = Quart(__name__)
model = keras.saving.load_model(os.environ["MODEL_KERAS"], compile=False)
serializer = itsdangerous.Serializer(os.environ["SIGNING_TOKEN"])


@app.get("/test")
async def test() -> dict[str, Any]:
    """Say that the model is loaded."""
    return {"msg": "ok"}


@app.post("/prediction")
async def prediction() -> dict[str, Any]:
    """Predict a song from signed JSON."""
    fields = serializer.loads(await request.get_data())
    y, sr = librosa.load(io.BytesIO(base64.b64decode(fields["data"])))
    return predict((picture(y, sr), features(y, sr)))


@app.post("/v1/models/<digest>/predictions")
async def signed_tensors(digest: str) -> dict[str, Any]:
    """Predict from tensors in signed JSON."""
    return predict(from_fields(serializer.loads(await request.get_data())["inputs"]))


@app.post("/raw")
async def raw() -> dict[str, Any]:
    """Predict from raw tensors."""
    return predict(from_raw(await request.body))


@app.post("/json")
async def parsed() -> dict[str, Any]:
    """Predict from tensors in JSON."""
    return predict(from_fields(await request.get_json()))


def predict(row: Row) -> dict[str, Any]:
    """Run the model on one row."""
    inputs = [tensor[None] for tensor in row]
    return {"outputs": model.predict(inputs, verbose=0).tolist()}


def features(y: NDArray[np.float32], sr: float) -> NDArray[np.float32]:
    """Compute the 58 features."""
    harmony, perceptr = librosa.effects.hpss(y)
    tempo, _ = librosa.beat.beat_track(y=y, sr=sr)
    tracks = [
        librosa.feature.chroma_stft(y=y, sr=sr),
        librosa.feature.rms(y=y),
        librosa.feature.spectral_centroid(y=y, sr=sr),
        librosa.feature.spectral_bandwidth(y=y, sr=sr),
        librosa.feature.spectral_rolloff(y=y, sr=sr),
        librosa.feature.zero_crossing_rate(y),
        harmony,
        perceptr,
    ]
    mfccs = list(librosa.feature.mfcc(y=y, sr=sr))
    row = [float(len(y))]
    row += [value for track in tracks for value in (float(np.mean(track)), float(np.var(track)))]
    row += [float(np.atleast_1d(tempo)[0])]
    row += [value for track in mfccs for value in (float(np.mean(track)), float(np.var(track)))]
    return np.asarray(row, np.float32)


def picture(y: NDArray[np.float32], sr: float) -> NDArray[np.float32]:
    """Draw the spectrogram and read the picture."""
    figure = plt.figure()
    decibels = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=sr), ref=np.max)
    librosa.display.specshow(decibels, sr=sr)
    file = io.BytesIO()
    plt.savefig(file)
    plt.close(figure)
    grey = Image.open(file).convert("L").resize((335, 235))
    return np.asarray(grey, np.float32)[..., None]
