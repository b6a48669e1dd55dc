"""What a task is: a contract that is plain data, and functions that run in child processes.

::

    model's signature + manifest --bind--> binding (JSON, kept in the model's record)

    a prediction, which a request waits for:
    sound + fields    + binding  --frontend--> named tensors --model--> output tensors
    output tensors    + binding  --decode----> reply

    a job, which outlives its request:
    sound + parameters + binding --work--> tensors of some windows <--> model or baseline
                                     `--> result and artifacts

The web process sees the contract and the binding as data only; it imports no task.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.audio.source import Source
from server.errors import UnusableInput
from server.tasks.contract import Contract, Signature

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's input.

    Attributes
    ----------
    sound : bytes
        A sound file.
    ext : str or None
        The format that the caller named.
    csv : bytes
        A feature row; empty to have it computed.
    window : dict or None
        What was told of this sound's window before.
    known : mapping of str to np.ndarray
        Raw values by name that were made of this sound before. With all that the binding needs, and
        the window, `sound` may be empty.
    """

    sound: bytes
    ext: str | None
    csv: bytes
    window: dict[str, Any] | None = None
    known: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a frontend makes of a call.

    Attributes
    ----------
    tensors : dict of str to np.ndarray
        The model's inputs by name.
    told : dict
        How they were made, as JSON values.
    made : dict of str to np.ndarray
        The raw values by name that were computed for this call: before columns are chosen and
        scaled, so that they serve every model on this sound.
    """

    tensors: Tensors
    told: dict[str, Any]
    made: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a job is to be made of.

    Attributes
    ----------
    sound : Source
        At the rate and with the channels of the contract. Every `blocks()` decodes it anew, so that
        it need never be held whole.
    form : str
        Of the model, or of the baseline.
    binding : mapping
        What `bind` said of the model; empty for the baseline.
    parameters : mapping
        Every parameter of the contract.
    files : mapping of str to int
        An open file for each artifact, empty, to be written and moved in.
    """

    sound: Source
    form: str
    binding: Mapping[str, Any]
    parameters: Mapping[str, Any]
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a job's work that is done.

    Attributes
    ----------
    progress : float
        How much of the job is done with it, and with what the model makes of `tensors`: 0 to 1.
    tensors : dict of str to np.ndarray
        Rows for the model, named as the form names them; none where there is only progress to tell.
    """

    progress: float
    tensors: Tensors = field(default_factory=dict)


Work = Callable[[Assignment], Generator[Step, Tensors, dict[str, Any]]]


def _by_job(*_asked: object) -> Any:
    raise UnusableInput("the task answers by jobs: POST the sound to /v1/jobs")


@dataclass(frozen=True, slots=True)
class Task:
    """A contract and the functions that fulfil it.

    Attributes
    ----------
    contract : Contract
        Plain data.
    bind : callable
        Signature and manifest to binding; raises `BadModel` naming the axis that is wrong.
    frontend : callable
        Call and binding to the model's tensors, and what else is known then.
    decode : callable
        Output tensors and binding to the reply.
    windows : callable or None
        Call, binding, the first window and how many at most to the tensors of those windows, one
        row each; `told` also counts the windows of the whole sound. None: for a task without sound.
    work : callable or None
        Makes a job: a generator of steps, which is sent the outputs for the rows of each and
        returns the result as JSON values. It tells a step at least every second, and holds as much
        of an hour as of a minute.
    baseline : callable or None
        A step's tensors and the parameters to the outputs of the first form.
    """

    contract: Contract
    bind: Callable[[Signature, Mapping[str, Any]], dict[str, Any]]
    frontend: Callable[[Call, Mapping[str, Any]], Prepared] = _by_job
    decode: Callable[[Mapping[str, NDArray[Any]], Mapping[str, Any]], dict[str, Any]] = _by_job
    windows: Callable[[Call, Mapping[str, Any], int, int], Prepared] | None = None
    work: Work | None = None
    baseline: Callable[[Tensors, Mapping[str, Any]], Tensors] | None = None
