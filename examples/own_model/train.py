"""From features to a model: `python examples/own_model/train.py FEATURES_FOLDER MODEL.keras`.

FEATURES_FOLDER is what `python -m server extract` wrote. Laid out in cells, as editors with
notebooks read them.
"""

# %% What was extracted: the numbers that the server will feed

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

features_folder, model_file = map(Path, sys.argv[1:3])
with np.load(features_folder / "spectrograms.npz") as data:
    spectrograms, features = data["spectrograms"], data["features"]
    labels, classes = np.unique(data["labels"], return_inverse=True)
print(f"{len(classes)} sounds: {', '.join(labels)}")

# %% A model of two inputs, called as the manifest calls them; every scaling is inside

keras.utils.set_random_seed(1)
row = keras.Input((features.shape[1],), name="features")
picture = keras.Input(spectrograms.shape[1:], name="spectrogram")
deviation = np.maximum(features.std(axis=0), 1e-3)
scaled = layers.Normalization(mean=features.mean(axis=0), variance=deviation**2)(row)
heard = layers.Dense(16, activation="relu")(layers.Dropout(0.3)(scaled))
seen = layers.AveragePooling2D(8)(layers.Rescaling(1 / 255)(picture))
seen = layers.Conv2D(8, 3, activation="relu")(seen)
seen = layers.GlobalAveragePooling2D()(seen)
answer = layers.Dense(len(labels), activation="softmax", name="genre")
model = keras.Model([row, picture], answer(layers.Concatenate()([heard, seen])))

# %% Every fifth sound is kept to see how well it does

kept = np.arange(len(classes)) % 5 == 0
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit([features[~kept], spectrograms[~kept]], classes[~kept], epochs=40, verbose=0)
_, accuracy = model.evaluate([features[kept], spectrograms[kept]], classes[kept], verbose=0)
print(f"{accuracy:.0%} of {kept.sum()} sounds that it has not heard are right")

# %% The file, without the state of training

model_file.parent.mkdir(parents=True, exist_ok=True)
keras.Model(model.inputs, model.outputs).save(model_file)
print(f"wrote {model_file}")
