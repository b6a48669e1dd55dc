"""What may go into a model that is served."""

from collections.abc import Sequence

from server.errors import BadModel
from server.tasks.contract import TensorSpec


def check_inputs(inputs: Sequence[TensorSpec]) -> None:
    """Refuse texts, and a batch axis that is not there or fixed.

    Raises
    ------
    BadModel
        Naming the input.
    """
    for spec in inputs:
        if spec.dtype == "string":
            raise BadModel(f"input {spec.name!r} takes texts", reason="text-input")
        if not spec.shape:
            raise BadModel(f"input {spec.name!r} has no batch axis", reason="no-batch")
        if spec.shape[0] not in (None, 1):
            raise BadModel(
                f"axis 0 of input {spec.name!r} is fixed at {spec.shape[0]}: one song is predicted "
                "at a time, so leave the batch axis open when you build the model",
                reason="fixed-batch",
            )
