"""Our server as a contestant: with the benchmarks' model, ready."""

import time

from benchmarks.bodies import Requests
from benchmarks.engine import Model
from benchmarks.loadgen import Target, load
from benchmarks.measuring import Contestant
from benchmarks.serving import Server

_RETRY_S = 0.01
_DEADLINE_S = 120.0


def host_tensors(server: Server, model: Model) -> Requests:
    """Host the model as one that takes tensors; return what makes requests to it."""
    digest = server.host(model.keras.read_bytes(), {"task": "tensors"})
    server.wait_for_ready(1)
    server.wait_for_decoders()
    return Requests(server.token, digest)


def target(server: Server) -> Target:
    """Return where it listens."""
    return Target(server.api, server.trust())


def contestant(server: Server) -> Contestant:
    """Return it as it runs."""
    return Contestant(target(server), server.web)


def restart(server: Server, request: bytes) -> float:
    """Stop it and start it again; return the seconds until it has answered a prediction."""
    server.stop()
    began = time.perf_counter()
    server.start()
    where = target(server)
    while True:
        try:
            load(where, [request], callers=1, at_least=1)
        except SystemExit:
            if time.perf_counter() - began > _DEADLINE_S:
                raise
            time.sleep(_RETRY_S)
        else:
            return time.perf_counter() - began
