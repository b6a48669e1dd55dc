"""The house stays what docs/architecture.md draws."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "server").rglob("*.py"))
EVERY = [*MODULES, *sorted((ROOT / "spectrogrampredictor").glob("*.py"))]
MAX_LINES = 300
MAX_FUNCTION_LINES = 60
FORBIDDEN = (
    *("tensorflow", "keras", "h5py", "numpy", "scipy", "soundfile", "soxr"),
    *("librosa", "pandas", "onnxruntime", "matplotlib", "PIL"),
)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", EVERY, ids=relative)
def test_a_file_holds_one_idea(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", EVERY, ids=relative)
def test_a_function_does_one_thing(module: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, functions) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("module", EVERY, ids=relative)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_our_modules_are_imported_at_the_top(module: Path) -> None:
    tree = ast.parse(module.read_text())
    inner = [node for node in ast.walk(tree) if node not in tree.body]
    for node in inner:
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("server"), node.lineno


@pytest.mark.parametrize("package", [p for p in MODULES if p.name == "__init__.py"], ids=relative)
def test_a_package_re_exports_nothing(package: Path) -> None:
    if package.parent.name != "tasks":  # it holds the table of tasks
        assert len(ast.parse(package.read_text()).body) == 1


def test_there_is_one_level_of_packages() -> None:
    deep = [p for p in MODULES if len(p.relative_to(ROOT / "server").parts) > 2]
    # `web` keeps the routes of each surface apart: its own part is how HTTP is spoken; and `gate`
    # what it knows of each format
    known = {("migrations", "versions"), ("web", "v1"), ("web", "v2")}
    known |= {("gate", each) for each in ("archive", "config", "cost", "hdf5", "onnx")}
    assert {p.parts[-3:-1] for p in deep} == known


def test_the_web_process_imports_no_sound_and_no_model_library() -> None:
    script = "import sys, server.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert [name for name in FORBIDDEN if name in loaded] == []


@pytest.mark.parametrize("module", sorted((ROOT / "server" / "gate").rglob("*.py")), ids=relative)
def test_the_gate_imports_nothing_that_could_run_a_model(module: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Import(names):
                imported.update(item.name for item in names)
            case ast.ImportFrom(name):
                imported.add(name or "")
    ours = {name for name in imported if name.split(".")[0] == "server"}
    others = {name.split(".")[0] for name in imported - ours}
    assert others <= {*sys.stdlib_module_names, "h5py", "onnx"}
    assert {name for name in ours if not name.startswith("server.gate")} <= {"server.errors"}


def test_every_file_of_the_server_has_a_floor() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    layers = config["importlinter:contract:floors"]["layers"].replace("|", " ").split()
    rooms = {
        "server." + path.relative_to(ROOT / "server").parts[0].removesuffix(".py")
        for path in MODULES
        if path != ROOT / "server" / "__init__.py"
    }
    assert rooms - {"server.migrations"} == set(layers)
