"""MLServer: the Open Inference Protocol in Python; batches; JSON bodies only."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

import numpy as np
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import PICTURE_SHAPE


class Genre(MLModel):
    """The model's runtime."""

    async def load(self) -> bool:
        """Load the model."""
        self._engine = Engine()
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """Run a batch."""
        named = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        pictures = named["spectrogram"].reshape(-1, *PICTURE_SHAPE).astype(np.float32)
        features = named["features"].reshape(-1, 58).astype(np.float32)
        output = NumpyCodec.encode_output("genre", self._engine.stacked(pictures, features))
        return types.InferenceResponse(model_name=self.name, outputs=[output])
