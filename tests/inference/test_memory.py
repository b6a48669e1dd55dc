"""server/inference/memory.py against what a child really holds, and what the system says."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from server.inference import memory
from server.inference.memory import machine_bytes, process_bytes
from server.inference.pool import ChildPool
from tests.inference.odd_models import odd_kind

MIB = 1 << 20


async def test_a_process_is_measured_with_what_it_holds() -> None:
    sizes = {}
    for size in (0, 200):
        pool = ChildPool(
            odd_kind({"allocate_mb": size}), size=1, max_queue=1, spawn=asyncio.ensure_future
        )
        pid = (await pool.ready())["pid"]
        sizes[size] = process_bytes(pid)
        assert sizes[size] == pytest.approx(await pool.memory_bytes(), rel=0.1)
        await pool.close()
        assert process_bytes(pid) == 0
    assert sizes[200] - sizes[0] == pytest.approx(200 * MIB, rel=0.1)


def test_our_own_process_is_no_larger_than_its_resident_pages() -> None:
    assert 0 < process_bytes(os.getpid()) <= psutil.Process().memory_info().rss


def test_a_machine_has_no_more_than_it_has() -> None:
    assert 0 < machine_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("text", "expected"), [("104857600\n", 100 * MIB), ("max\n", None), ("", None), ("1 2", None)]
)
def test_a_containers_limit_counts_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None
) -> None:
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "missing")
    assert machine_bytes() == (expected or psutil.virtual_memory().total)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("0::/system.slice/it.service", "system.slice/it.service/memory.max"),
        ("0::/system.slice/it.service", "system.slice/memory.max"),
        ("4:memory:/it", "memory/it/memory.limit_in_bytes"),
        ("4:memory:/outside/of/here", "memory/memory.limit_in_bytes"),
    ],
)
def test_a_services_limit_counts_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, place: str
) -> None:
    limit = tmp_path / place
    limit.parent.mkdir(parents=True, exist_ok=True)
    limit.write_text(f"{100 * MIB}\n")
    (tmp_path / "own").write_text(f"9:name=systemd:/\n{line}\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    assert machine_bytes() == 100 * MIB
