"""The import rules of the design: what may know of what, read from the sources without running them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "numba", "safetensors.torch")
"""What the HTTP process must not import: seconds of start, hundreds of megabytes, and threads."""

MAY_IMPORT = {
    "app.engine": {"app.engine"},
    "app.training": {"app.training"},
    "app.starter": {"app.starter"},
    "app.storage": {"app.storage"},
    "app.idempotency": {"app.idempotency", "app.storage"},
    "app.jobs": {"app.jobs", "app.training", "app.storage"},
    "app.chat": {
        "app.chat",
        "app.storage",
        "app.engine.client",
        "app.engine.messages",
        "app.engine.model_source",
        "config.settings",
    },
    "config.settings": set(),
    # Its hooks belong to the server, which loads it; nothing imports it.
    "config.gunicorn": {"config.settings", "app.engine.model_source", "app.doctor"},
}
"""Packages of this project that a package may import; `app.api` and `app` stand above all of these."""

COMMANDS = ("app.engine.cluster.__main__", "app.engine.cluster.application", "app.engine.cluster.trial")
"""Where the settings are read and what they ask for is wired up, as in `app` itself."""

WITHOUT_TORCH = (
    "messages",
    "sequence",
    "slots",
    "scheduler",
    "client",
    "requests",
    "local",
    "model_source",
    "process",
    "cores",
    "pace",
)
"""The modules of the engine that do not import torch themselves, nor anything that does."""


def modules(package: str) -> list[str]:
    folder = ROOT / package.replace(".", "/")
    if not folder.is_dir():
        return [package]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in folder.rglob("*.py")]
    return sorted(name.removesuffix(".__init__") for name in names)


@cache
def imports(module: str, at_load: bool = False) -> frozenset[str]:
    """The full names of all that a module imports; with `at_load` only what its own loading imports."""
    base = ROOT / module.replace(".", "/")
    is_package = base.is_dir()
    path = base / "__init__.py" if is_package else base.with_suffix(".py")
    names = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), at_load):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
                source = ".".join([*parents, source]).rstrip(".")
            submodules = {f"{source}.{alias.name}" for alias in node.names}
            names |= {name for name in submodules if exists(name)} or {source}
            if exists(source) and any(not exists(name) for name in submodules):
                names.add(source)
    return frozenset(names)


def statements(tree: ast.AST, at_load: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node, at_load)


def exists(module: str) -> bool:
    base = ROOT / module.replace(".", "/")
    return module.startswith(("app", "config")) and (base.with_suffix(".py").is_file() or base.is_dir())


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("package", [name for name in MAY_IMPORT if exists(name)])
def test_imports_point_down_only(package: str) -> None:
    wrong = [
        (module, name)
        for module in modules(package)
        if module not in COMMANDS
        for name in imports(module)
        if is_in(name, "app") or is_in(name, "config") or is_in(name, "wsgi")
        if not any(is_in(name, allowed) for allowed in MAY_IMPORT[package])
    ]
    assert not wrong


def reached(start: str) -> dict[str, str]:
    """Everything that loading a module loads, and which module imports it."""
    found = {start: ""}
    todo = [start]
    while todo:
        module = todo.pop()
        for name in imports(module, at_load=True):
            # Importing a.b.c loads a and a.b as well.
            parts = name.split(".")
            for prefix in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
                if prefix not in found:
                    found[prefix] = module
                    if exists(prefix):
                        todo.append(prefix)
    return found


def heavy_imports(module: str) -> list[tuple[str, str]]:
    return [(by, name) for name, by in reached(module).items() if any(is_in(name, heavy) for heavy in HEAVY)]


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_the_light_half_of_the_engine_never_imports_torch(name: str) -> None:
    assert heavy_imports(f"app.engine.{name}") == []


@pytest.mark.parametrize(
    "module",
    [
        *("app", "app.doctor.at_start", "app.doctor.services", "app.logs", "app.server"),
        *(
            module
            for package in ("app.api", "app.chat", "app.jobs", "app.storage", "config")
            for module in modules(package)
        ),
    ],
)
def test_the_http_process_never_imports_torch(module: str) -> None:
    assert heavy_imports(module) == []


def test_the_engine_is_seen_as_importing_torch() -> None:
    """So that the tests above are known to look."""
    assert heavy_imports("app.engine.loop")


@pytest.mark.parametrize("module", ["app.engine.client", "app.engine.scheduler", "app.engine.model_source"])
def test_a_real_import_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
