"""What can be asked for: the contracts of the tasks, as data.

::

    GET /v1/tasks
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from quart import Blueprint, Response

from server.inference.contracts import Contracts
from server.signing.payload import take_fields
from server.web.v1.job_access import JobAccess
from server.web.v1.job_schemas import TaskArtifact, TaskInfo, TaskList, TaskParameter
from server.web.v1.schemas import answer


def task_routes(contracts: Callable[[], Awaitable[Contracts]], access: JobAccess) -> Blueprint:
    """Build the route."""
    bp = Blueprint("v1_tasks", __name__)

    @bp.get("/v1/tasks")
    async def tasks() -> Response:
        _, fields = await access.reader()
        take_fields(fields, required={})
        known = (await contracts()).tasks.values()
        return answer(TaskList(tasks=[_info(contract) for contract in known]))

    return bp


def _info(contract: Mapping[str, Any]) -> TaskInfo:
    named = {name: contract[name] for name in TaskInfo.__struct_fields__}
    named["baseline"] = contract["baseline"] or None
    named["parameters"] = [TaskParameter(**one) for one in contract["parameters"]]
    named["artifacts"] = [TaskArtifact(**one) for one in contract["artifacts"]]
    return TaskInfo(**named)
