"""Run a loaded Keras model: the engine of what cannot be converted, and the reference.

Imported in child processes only. The model is called, never `predict`-ed: that takes seven times as
long for one song.
"""

import gc
from collections.abc import Mapping
from math import prod
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from server.inference.keras_model import KerasModel

Values = Mapping[str, NDArray[Any]]
_OTHER_WIDTHS = (tf.float16, tf.bfloat16, tf.float64)


class KerasEngine:
    """A loaded model behind one compiled function.

    Parameters
    ----------
    loaded : KerasModel
        The model.
    """

    def __init__(self, loaded: KerasModel) -> None:
        self._model = loaded.model
        self._signature = loaded.signature
        specs = [tf.TensorSpec(spec.shape, spec.fed) for spec in loaded.signature.inputs]
        self.inputs = {spec.name: (spec.shape, spec.fed) for spec in loaded.signature.inputs}
        self._run = tf.function(self.call, input_signature=specs)

    def call(self, *tensors: Any) -> list[Any]:
        """Build the model's graph: fed tensors to float32 outputs, in the signature's order.

        Other widths are what a model computes with, not answers.
        """
        inputs = self._signature.inputs
        cast = [tf.cast(value, spec.dtype) for value, spec in zip(tensors, inputs, strict=True)]
        structure = keras.tree.pack_sequence_as(_structure(self._model), cast)
        values = keras.tree.flatten(self._model(structure, training=False))
        return [tf.identity(tf.cast(value, tf.float32)) for value in values]

    def predict(self, tensors: Values) -> dict[str, NDArray[np.float32]]:
        """Run the model once.

        Parameters
        ----------
        tensors : mapping of str to np.ndarray
            Every input by name, the batch axis first.

        Returns
        -------
        dict of str to np.ndarray
            Every output by name, float32.
        """
        fed = [tf.constant(tensors[s.name], dtype=s.fed) for s in self._signature.inputs]
        named = zip(self._signature.outputs, self._run(*fed), strict=True)
        return {spec.name: value.numpy() for spec, value in named}

    def largest(self) -> int:
        """Return the numbers of the largest tensor in the model's graph, for one row.

        Axes that are open count as 1, and tensors of an open rank not at all.
        """
        graph = self._run.get_concrete_function().graph
        tensors = (tensor for made in graph.get_operations() for tensor in made.outputs)
        known = (tensor.shape.as_list() for tensor in tensors if tensor.shape.rank is not None)
        return max((prod(1 if n is None else n for n in shape) for shape in known), default=0)

    def widths(self) -> list[str]:
        """Return the floats other than float32 that the model computes with."""
        graph = self._run.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
        used = {attribute.type for node in nodes for attribute in node.attr.values()}
        return sorted(width.name for width in _OTHER_WIDTHS if width.as_datatype_enum in used)


def settle() -> None:
    """Keep the garbage collector from visiting the 200,000 objects of TensorFlow again."""
    gc.collect()
    gc.freeze()


def _structure(model: Any) -> Any:
    """Return how the model takes its inputs: one tensor, a list of them, or a dictionary."""
    return 0 if isinstance(model, keras.Sequential) else model.input
