"""FastAPI under uvicorn: the engine in the thread pool, no batches."""
# its libraries live in an environment of their own
# mypy: disable-error-code="import-not-found,misc,untyped-decorator,no-any-return,attr-defined"

from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from benchmarks.peers.apps.engine import Engine
from benchmarks.peers.apps.rows import Row, from_fields, from_raw

app = FastAPI()
engine = Engine()


@app.post("/raw")
async def raw(request: Request) -> dict[str, Any]:
    """Predict from raw tensors."""
    return await run_in_threadpool(predict, from_raw(await request.body()))


@app.post("/json")
async def parsed(request: Request) -> dict[str, Any]:
    """Predict from tensors in JSON."""
    return await run_in_threadpool(predict, from_fields(await request.json()))


def predict(row: Row) -> dict[str, Any]:
    """Run the engine on one row."""
    return {"outputs": engine.run([row]).tolist()}
