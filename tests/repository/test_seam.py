"""All acts on the file system go through server/repository/fsops.py."""

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "server" / "repository"
MODULES = sorted(path for path in ROOM.glob("*.py") if path.name != "fsops.py")
MODULES_OF_ACTS = {"os", "fcntl", "shutil", "io", "tempfile", "mmap"}
# what asks or tells the system something that is on no disk
HARMLESS = {"geteuid", "setpriority", "PRIO_PROCESS"}
ACTS = {
    *("chmod", "exists", "glob", "hardlink_to", "is_dir", "is_file", "is_symlink", "iterdir"),
    *("lchmod", "lstat", "mkdir", "open", "read_bytes", "read_text", "rename", "resolve", "rglob"),
    *("rmdir", "samefile", "stat", "symlink_to", "touch", "unlink", "write_bytes", "write_text"),
}


def acts_in(source: str) -> list[str]:
    """Return what touches a file system without the seam."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                found += [item.name for item in names if item.name in MODULES_OF_ACTS]
            case ast.ImportFrom(module, names) if module in MODULES_OF_ACTS:
                found += [item.name for item in names if item.name not in HARMLESS]
            case ast.Call(ast.Name("open")):
                found.append("open")
            case ast.Call(ast.Attribute(owner, name)) if name in ACTS and not is_disk(owner):
                found.append(f"{ast.unparse(owner)}.{name}")
    return found


def is_disk(owner: ast.expr) -> bool:
    """Tell whether an act goes through the seam; what opens addresses opens no file."""
    return ast.unparse(owner).split(".")[-1] in {"disk", "_disk", "_opener"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_no_other_module_touches_the_file_system(module: Path) -> None:
    assert acts_in(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    ["import os", "from os import unlink", "open('x')", "name.unlink()", "layout.model(d).stat()"],
)
def test_an_act_beside_the_seam_is_seen(source: str) -> None:
    assert len(acts_in(source)) == 1


@pytest.mark.parametrize("source", ["self._disk.unlink(x)", "layout.disk.open(x)"])
def test_an_act_through_the_seam_is_fine(source: str) -> None:
    assert acts_in(source) == []
