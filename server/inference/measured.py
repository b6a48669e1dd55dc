"""Hold what a model takes as it is run against what was counted of it, before it is served.

The gate counts by shapes alone, and a kernel that takes more than its tensors tell is only found
out by running it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.errors import BadModel
from server.gate.config.tree import OPEN
from server.inference.trials import Engine, runnable
from server.tasks.contract import Signature

_FREE_BYTES = 256 << 20  # what any first run takes: threads, plans, kernels that are made for it
_NUMBER_BYTES = 16  # four times a float, for what is laid out anew on the way
_CALL_BYTES = 32 << 10
_KIB = 1024


def check_memory(
    engine: Engine,
    signature: Signature,
    binding: Mapping[str, Any],
    *,
    activations: int,
    calls: int = 0,
) -> None:
    """Run a model for the first time, on one row.

    Parameters
    ----------
    engine : Engine
        The model.
    signature, binding : Signature, mapping
        Its inputs, and what settles the axes that it leaves open.
    activations : int
        How many numbers it was counted to make of one row.
    calls : int
        Of layers, as they were counted: each becomes operations that TensorFlow plans.

    Raises
    ------
    BadModel
        If it takes far more memory than these numbers, or cannot be run.
    """
    before = _peak_bytes()
    found = runnable(engine, signature, binding)
    took = _peak_bytes() - before
    most = _FREE_BYTES + _NUMBER_BYTES * activations + _CALL_BYTES * calls
    told = {item["tensor"]: item["shape"][1:] for item in binding["inputs"]}
    sizes = [
        size
        for shapes in found
        for name, (shape, _) in shapes.items()
        for size, fixed in zip(shape, told[name], strict=True)
        if fixed is None
    ]
    if took > most and max(sizes, default=0) <= OPEN:  # longer ones were not counted
        raise BadModel(
            f"one row takes {took >> 20} MiB of memory, where {most >> 20} are enough for the "
            "numbers that its layers make",
            reason="cost-memory",
        )


def _peak_bytes() -> int:
    # what `getrusage` tells begins with what the parent held
    told = Path("/proc/self/status").read_text("ascii", "replace")
    return int(told.partition("VmHWM:")[2].split()[0]) * _KIB
