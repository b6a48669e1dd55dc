"""Every task keeps to what its contract says of it."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from server.inference.parameters import file_names, parameters_of
from server.tasks.table import TASKS

DOCS = Path(__file__).parents[2] / "docs" / "tasks"
JOBS = [name for name, task in TASKS.items() if task.contract.answers == "job"]


@pytest.mark.parametrize("name", TASKS)
def test_a_contract_is_plain_data(name: str) -> None:
    contract = asdict(TASKS[name].contract)
    assert json.loads(json.dumps(contract))["name"] == name


@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_what_it_takes(name: str) -> None:
    task = TASKS[name]
    assert task.work is not None
    assert task.contract.forms
    assert bool(task.contract.baseline) == (task.baseline is not None)


@pytest.mark.parametrize("name", JOBS)
def test_the_defaults_are_allowed(name: str) -> None:
    contract = json.loads(json.dumps(asdict(TASKS[name].contract)))
    defaults = {item["name"]: item["default"] for item in contract["parameters"]}
    assert parameters_of(contract, defaults) == defaults
    assert parameters_of(contract, {}) == defaults
    assert len(set(file_names(contract, defaults).values())) == len(contract["artifacts"])


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_tells_of_parameters_that_there_are(page: Path) -> None:
    task = TASKS.get(page.stem)
    known = {item.name for item in task.contract.parameters} if task else set[str]()
    table = re.search(r"## Parameters\n(.*?)(\n## |\Z)", page.read_text(), re.S)
    told = set(re.findall(r"^\| `([a-z_]+)`", table[1], re.M)) if table else set[str]()
    assert told == (known if table else told)
    assert bool(table) == bool(known)
