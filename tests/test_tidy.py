"""The taste of the house: what imports what, what is forbidden where, and what must be said.

Nothing here runs the library; it reads the source.
"""

import ast
import dataclasses
import doctest
import functools
import re
from pathlib import Path

import pytest

from map_reduce import errors
from map_reduce.core.messages import MESSAGES
from map_reduce.core.roles import CLIENTS_ASK, NODES_ASK, REPLIES
from map_reduce.server import logs
from map_reduce.server.configs import ClusterConfig, NodeConfig

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "map_reduce"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEXTS = sorted(
    path
    for folder in ("map_reduce", "tests", "examples", "docs", "scripts", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
) + sorted(ROOT.glob("*.md"))

EVERYWHERE = {"errors", "_version", "map_reduce"}
LAYERS = {
    "errors": set(),
    "_version": set(),
    "pickling": set(),
    "ordering": set(),
    "formats": set(),
    "kernel": set(),
    "reducers": {"ordering"},
    "job": {"formats", "reducers"},
    "core": set(),
    "counters": {"core"},
    "ports": {"core"},
    "execution": {
        *(
            "job",
            "core",
            "ports",
            "pickling",
            "counters",
            "ordering",
            "reducers",
            "formats",
            "kernel",
        ),
    },
    "runtime": {"ports", "core"},
    "transport": {"ports", "core"},
    "storage": {"ports", "core"},
    "workers": {"ports", "execution", "job", "core"},
    "simulation": {"runtime", "ports", "execution", "job", "core"},
    "server": {"runtime", "transport", "storage", "workers", "ports", "core", "job"},
    "client": {"server", "transport", "job", "core", "pickling", "reducers", "formats", "kernel"},
    "engines": {"execution", "job", "pickling"},
    "dashboard": {"client", "core"},
    "testing": {
        *("client", "server", "simulation", "transport", "core", "job"),
        *("counters", "ordering"),
    },
    "certs": {"transport", "core"},
    "cli": {"client", "server", "certs", "core", "job"},
    "__main__": {"cli"},
    "__init__": {"client", "job", "counters", "reducers"},
}
"""What each layer may import besides itself and EVERYWHERE."""

OF_CORE_IN_EXECUTION = {"map_reduce.core.messages", "map_reduce.core.digests"}

IMPURE = {
    *("Pyro4", "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os"),
    *("pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl"),
    *("subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
}
"""What ``core`` must not import: clocks, randomness, threads, sockets, files."""

IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

LINES_MAX = 500
USERS_SEE = {
    *("client/server_interface.py", "client/handle.py", "counters.py", "job.py"),
    *("reducers/adding.py", "reducers/keeping.py", "reducers/ranking.py"),
}
"""Where public methods, too, must be described one by one."""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


KNOWN = {module_of(path) for path in MODULES}


def imports(node: ast.AST, path: Path) -> list[str]:
    """The modules that one import statement names; ``from package import module`` included."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = module_of(path).split(".")
        package = package if path.name == "__init__.py" else package[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
    below = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in KNOWN else base for name in below]


def all_imports(path: Path) -> list[str]:
    """Wherever they stand, inside functions too."""
    return [name for node in ast.walk(tree_of(path)) for name in imports(node, path)]


def imports_on_import(path: Path) -> set[str]:
    """Those that importing the module carries out."""
    found: set[str] = set()
    todo: list[ast.AST] = [tree_of(path)]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            found.update(imports(node, path))
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                todo += node.orelse
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                todo.append(node)
    return found


# ------------------------------------------------------------------ what imports what


def test_every_layer_has_its_arrows():
    assert {layer_of(path) for path in MODULES} <= set(LAYERS)


def test_arrows_between_layers():
    wrong = []
    for path in MODULES:
        layer = layer_of(path)
        allowed = LAYERS.get(layer, set()) | EVERYWHERE | {layer}
        for name in all_imports(path):
            root, _, below = name.partition(".")
            if root == "map_reduce" and (below.split(".")[0] or root) not in allowed:
                wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_execution_knows_of_core_only_the_messages():
    of_core = {
        name
        for path in MODULES
        for name in all_imports(path)
        if layer_of(path) == "execution" and name.startswith("map_reduce.core")
    }
    assert of_core <= OF_CORE_IN_EXECUTION


def test_core_is_pure():
    wrong = []
    for path in MODULES:
        if layer_of(path) == "core":
            found = {name.split(".")[0] for name in all_imports(path)} & IMPURE
            found |= called_names(path) & IMPURE_CALLS
            wrong += [f"{name_of(path)} uses {name}" for name in sorted(found)]
    assert not wrong, "\n".join(wrong)


def called_names(path: Path) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def test_pyro4_is_known_to_the_transport_alone():
    users = {
        layer_of(path)
        for path in MODULES
        for name in all_imports(path)
        if name.split(".")[0] in ("Pyro4", "serpent")
    }
    assert users <= {"transport"}


def test_no_modules_import_each_other():
    edges = {
        module_of(path): (imports_on_import(path) & KNOWN) - {module_of(path)} for path in MODULES
    }
    finished: set[str] = set()

    def visit(module, way):
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in finished:
            for target in sorted(edges[module]):
                visit(target, [*way, module])
            finished.add(module)

    for module in sorted(edges):
        visit(module, [])


def test_every_message_has_its_place_among_the_roles():
    """A new one fails here until somebody has decided who may ask it: see core/roles.py."""
    places = [*CLIENTS_ASK, *NODES_ASK, *REPLIES]
    assert sorted(kind.__name__ for kind in places) == sorted(kind.__name__ for kind in MESSAGES)


# ------------------------------------------------------------------ what a module may be


def test_a_module_is_read_in_one_sitting():
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES
    }
    assert not {name: length for name, length in lengths.items() if length > LINES_MAX}


def test_no_global_is_assigned_to_by_a_function():
    assert not [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Global)
    ]


def test_nothing_is_left_to_be_done():
    marks = "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3])
    found = []
    for path in TEXTS:
        if ROOT / "benchmarks" / "data" in path.parents:
            continue  # texts of others, made by benchmarks/real_text.py
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # not a text
            continue
        found += [f"{path}: {mark}" for mark in re.findall(rf"\b(?:{marks})\b.*", text)]
    assert not found


def test_what_is_public_is_described():
    wrong = []
    for path in MODULES:
        tree = tree_of(path)
        if tree.body and not ast.get_docstring(tree):
            wrong.append(name_of(path))
        names = undescribed(tree.body, name_of(path) in USERS_SEE)
        wrong += [f"{name_of(path)}: {name}" for name in names]
    assert not wrong, "\n".join(wrong)


def undescribed(body: list[ast.stmt], methods: bool):
    """Public classes and functions without a docstring that would need one.

    Not those whose code is as short as a description: classes of nothing but fields, and
    functions of one statement.
    """
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            only_fields = all(isinstance(line, ast.AnnAssign | ast.Assign) for line in node.body)
            if not ast.get_docstring(node) and not only_fields:
                yield node.name
            if methods:
                yield from (f"{node.name}.{name}" for name in undescribed(node.body, methods))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            short = len(node.body) == 1 and not methods
            if not ast.get_docstring(node) and not short:
                yield node.name


# ------------------------------------------------------------------ tests


def test_tests_wait_for_events_and_never_sleep():
    assert not [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and sleeps_among(node))
    ]


def sleeps_among(node: ast.ImportFrom) -> bool:
    return any(alias.name == "sleep" for alias in node.names)


def test_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


# ------------------------------------------------------------------ documentation


def settings_table(config: type) -> list[str]:
    """The rows of ``docs/settings.md`` for a configuration."""
    rows = ["| setting | variable | default | bounds | meaning |", "|---|---|---|---|---|"]
    for setting in dataclasses.fields(config):
        about = setting.metadata
        default = "" if setting.default in (None, dataclasses.MISSING) else f"`{setting.default}`"
        bounds = " … ".join(
            f"{about[end]:.15g}" if abs(about[end]) != float("inf") else ""
            for end in ("low", "high")
        )
        rows.append(
            f"| `{setting.name}` | `{about['variable']}` | {default or '(see there)'} "
            f"| {bounds.strip(' …')} | {about['about']} |"
        )
    return rows


@pytest.mark.parametrize("config", [ClusterConfig, NodeConfig])
def test_every_setting_stands_in_the_documentation(config):
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    rows = settings_table(config)
    assert [row for row in rows if row in written] == rows, "\n".join(["write:", *rows])


def test_the_documentation_names_no_setting_that_is_not_there():
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    variables = {
        setting.metadata["variable"]
        for config in (ClusterConfig, NodeConfig)
        for setting in dataclasses.fields(config)
    } | {logs.LEVEL_VARIABLE, logs.FORMAT_VARIABLE}
    assert set(re.findall(r"\bMR_[A-Z_]*[A-Z]", text)) == variables


def test_the_tree_of_errors_is_the_tree_of_classes():
    drawn: dict[str, str] = {}
    way: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(found[1])
            way = [step for step in way if step[0] < depth]
            drawn[found[2]] = way[-1][1] if way else "Exception"
            way.append((depth, found[2]))
    classes = {
        name: kind.__base__.__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert drawn == classes


def python_blocks():
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        blocks = re.finditer(r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks, 1):
            indent = len(block[1])
            code = "".join(line[indent:] or "\n" for line in block[2].splitlines(keepends=True))
            yield pytest.param(code, id=f"{path.relative_to(ROOT)}:{number}")


@pytest.mark.parametrize("code", [*python_blocks()])
def test_python_in_the_documentation_compiles(code):
    if code.lstrip().startswith(">>>"):
        code = "".join(example.source for example in doctest.DocTestParser().get_examples(code))
    compile(code, "documentation", "exec")


def test_the_readme_has_an_example():
    assert "```python" in (ROOT / "README.md").read_text(encoding="utf-8")


# ------------------------------------------------------------------ these checks themselves


def test_the_checks_see_what_they_are_for(tmp_path):
    assert len(MODULES) > 30
    source = "import a.b\nfrom c import d\ndef f():\n    global g\n    import e\n"
    module = tmp_path / "m.py"
    module.write_text(source)
    assert all_imports(module) == ["a.b", "c", "e"]
    assert imports_on_import(module) == {"a.b", "c"}
    module = tmp_path / "n.py"
    module.write_text("class A:\n    x: int\nclass B:\n    def m(self):\n        pass\n")
    assert list(undescribed(tree_of(module).body, methods=True)) == ["B", "B.m"]
    assert list(undescribed(tree_of(module).body, methods=False)) == ["B"]
