"""The taste of the house: what imports what, what is forbidden where, and what must be said.

Nothing here runs the library; it reads the source.
"""

import ast
import dataclasses
import doctest
import re
from pathlib import Path

import pytest

from map_reduce import errors
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
    "job": set(),
    "core": set(),
    "ports": {"core"},
    "execution": {"job", "core", "ports", "pickling"},
    "runtime": {"ports", "core"},
    "transport": {"ports", "core"},
    "storage": {"ports", "core"},
    "workers": {"ports", "execution", "job", "core"},
    "simulation": {"runtime", "ports", "execution", "job", "core"},
    "server": {"runtime", "transport", "storage", "workers", "ports", "core", "job"},
    "client": {"server", "transport", "job", "core", "pickling"},
    "engines": {"execution", "job", "pickling"},
    "dashboard": {"client", "core"},
    "cli": {"client", "server", "core", "job"},
    "__main__": {"cli"},
    "__init__": {"client", "job"},
}
"""What each layer may import besides itself and EVERYWHERE."""

OF_CORE_IN_EXECUTION = {"map_reduce.core.messages", "map_reduce.core.digests"}

IMPURE = set(
    "Pyro4 asyncio concurrent datetime io logging multiprocessing os pathlib random secrets select "
    "selectors shutil signal socket ssl subprocess sys tempfile threading time urllib uuid".split()
)
"""What ``core`` must not import: clocks, randomness, threads, sockets, files."""

LINES_MAX = 500
LONGER = {"core/messages.py": 650}
"""One list of messages, which would be harder to read in two files."""

USERS_SEE = {"client/server_interface.py", "client/handle.py", "job.py"}
"""Where public methods, too, must be described one by one."""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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


def each_module(test):
    return pytest.mark.parametrize("path", MODULES, ids=name_of)(test)


# ------------------------------------------------------------------ what imports what


def test_every_layer_has_its_arrows():
    assert {layer_of(path) for path in MODULES} <= set(LAYERS)


@each_module
def test_arrows_between_layers(path):
    layer = layer_of(path)
    allowed = LAYERS.get(layer, set()) | EVERYWHERE | {layer}
    for name in all_imports(path):
        parts = name.split(".")
        if parts[0] == "map_reduce":
            target = parts[1] if len(parts) > 1 else "map_reduce"
            assert target in allowed, f"{layer} must not import {name}"


@each_module
def test_execution_knows_of_core_only_the_messages(path):
    if layer_of(path) == "execution":
        of_core = {name for name in all_imports(path) if name.startswith("map_reduce.core")}
        assert of_core <= OF_CORE_IN_EXECUTION


@each_module
def test_core_is_pure(path):
    if layer_of(path) != "core":
        return
    assert not {name.split(".")[0] for name in all_imports(path)} & IMPURE
    calls = {
        node.func.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}


@each_module
def test_pyro4_is_known_to_the_transport_alone(path):
    if layer_of(path) != "transport":
        assert not {name.split(".")[0] for name in all_imports(path)} & {"Pyro4", "serpent"}


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


# ------------------------------------------------------------------ what a module may be


@each_module
def test_a_module_is_read_in_one_sitting(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(name_of(path), LINES_MAX)


@each_module
def test_no_global_is_assigned_to_by_a_function(path):
    assert not [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_left_to_be_done(path):
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # not a text
        return
    marks = "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3])
    assert not re.findall(rf"\b(?:{marks})\b.*", text)


@each_module
def test_what_is_public_is_described(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    assert not list(undescribed(tree.body, name_of(path) in USERS_SEE))


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


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_tests_wait_for_events_and_never_sleep(path):
    sleeps = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep")
        or (isinstance(node, ast.ImportFrom) and node.module == "time" and sleeps_among(node))
    ]
    assert not sleeps


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
    }
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


@pytest.mark.parametrize("code", python_blocks())
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
    module.write_text("class A:\n    x: int\nclass B:\n    def m(self):\n        pass\n")
    assert list(undescribed(tree_of(module).body, methods=True)) == ["B", "B.m"]
    assert list(undescribed(tree_of(module).body, methods=False)) == ["B"]
