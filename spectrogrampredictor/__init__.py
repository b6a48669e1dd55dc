"""Ask a server that hosts audio models by their SHA-256.

::

    from spectrogrampredictor import Client

    with Client.from_env() as client:
        model = client.push("genre.h5")
        print(client.predict(model, "song.mp3").best)

`Client` and `AsyncClient` do the same. Who asks is said by one of `SigningToken`, `HmacKey`,
`Ed25519Key` and `BearerToken`, each an `httpx.Auth` that is good for any httpx client too. What the
server refuses is raised as one of the classes in `spectrogrampredictor.problems`.
"""

from spectrogrampredictor import problems
from spectrogrampredictor.answers import (
    Alias,
    Label,
    Model,
    Prediction,
    Sweep,
    Tensor,
    Token,
)
from spectrogrampredictor.asynchronous import AsyncClient
from spectrogrampredictor.auth import BearerToken, Ed25519Key, HmacKey, SigningToken
from spectrogrampredictor.client import Client
from spectrogrampredictor.frontends import Frontend, FrontendTensor
from spectrogrampredictor.jobs import Artifact, Job, JobFailed
from spectrogrampredictor.many import Answered
from spectrogrampredictor.problem import Problem
from spectrogrampredictor.receipts import BadReceipt, Receipt, verify_receipt
from spectrogrampredictor.retries import Retries

__all__ = [
    "Alias",
    "Answered",
    "Artifact",
    "AsyncClient",
    "BadReceipt",
    "BearerToken",
    "Client",
    "Ed25519Key",
    "Frontend",
    "FrontendTensor",
    "HmacKey",
    "Job",
    "JobFailed",
    "Label",
    "Model",
    "Prediction",
    "Problem",
    "Receipt",
    "Retries",
    "SigningToken",
    "Sweep",
    "Tensor",
    "Token",
    "problems",
    "verify_receipt",
]
