"""What a script ships works in a process that has none of the script's modules.

One script, written into a temporary folder with modules of every kind beside it, pickles its
jobs and items as the client does. A second process, elsewhere, unpickles and runs them as a
node does, and its pickled results are opened by the script. Each check is a line of the report.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import map_reduce

FILES = {
    "helpers.py": """
import functools
import logging
import enum
from dataclasses import dataclass
from typing import NamedTuple
import more_helpers

log = logging.getLogger(__name__)
SUFFIX = "!"

@dataclass(frozen=True)
class Word:
    text: str
    def loud(self):
        return self.text.upper() + SUFFIX

@dataclass(frozen=True, slots=True, order=True)
class Slotted:
    text: str

class Colour(enum.Enum):
    RED = 1
    BLUE = "b"

class Pair(NamedTuple):
    left: int
    right: int

class Text:
    def __init__(self, text):
        self.text = text
    @functools.cached_property
    def words(self):
        return self.text.split()

class Broken(ValueError):
    pass

def clean(text):
    return more_helpers.strip(text).lower()

def map(key, value):
    return [(clean(value), 1)]

@functools.lru_cache(maxsize=None)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
""",
    "more_helpers.py": """
import helpers

def strip(text):
    return text.strip(DIRT) + helpers.SUFFIX

DIRT = " .,"
""",
    "package/__init__.py": "from .inner import twice\n",
    "package/inner.py": """
from package import sister

def twice(x):
    return sister.double(x)
""",
    "package/sister.py": "def double(x):\n    return 2 * x\n",
    "space/part.py": "def triple(x):\n    return 3 * x\n",
    "node.py": """
import pickle, sys
from map_reduce.pickling import dumps

for name in ("helpers", "more_helpers", "package", "space", "zipped", "made"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} is here")
while True:
    try:
        functions, items = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        map, reduce, *_ = pickle.loads(functions)
        groups = {}
        for key, value in enumerate(pickle.loads(items)):
            for out_key, out_value in map(key, value):
                groups.setdefault(out_key, []).append(out_value)
        answer = dumps([(key, reduce(key, values)) for key, values in groups.items()])
    except BaseException as error:
        answer = dumps(repr(error))
    pickle.dump(answer, sys.stdout.buffer)
""",
    "script.py": """
import enum, functools, json, pickle, subprocess, sys, types
from dataclasses import dataclass

import helpers
import package
import space.part
from helpers import Broken, Colour, Pair, Slotted, Text, Word, fibonacci
from package.inner import twice
sys.path.append("zipped.zip")
import zipped

made = types.ModuleType("made")
exec("def quadruple(x): return 4 * x", made.__dict__)
sys.modules["made"] = made

from map_reduce.client.shipping import pickle_functions, pickle_items, unpickle
from map_reduce.job import Job

@dataclass(frozen=True)
class Here:
    x: int

class Tint(enum.Enum):
    DARK = 1

class Scaler:
    def __init__(self, by):
        self.by = by
    def map(self, key, value):
        return [(key, value * self.by)]
    def __call__(self, key, value):
        return [(key, value * self.by)]

def scaled(by):
    return lambda key, value: [(key, value * by)]

def first(key, values):
    return values[0]

def by_global_module(key, value):
    return [(helpers.clean(value), 1)]

def main_calls_main(key, value):
    return by_global_module(key, value)

def of_package(key, value):
    return [(package.twice(value), package.inner.twice(value)), (twice(value), 0)]

def raises_own(key, value):
    try:
        raise Broken("x")
    except helpers.Broken as error:
        return [(type(error).__name__, 1)]

checks = {
    "main": (main_calls_main, first, [" A. "], [("a!", 1)]),
    "lambda": (lambda k, v: [(v, 1)], lambda k, vs: sum(vs), ["a", "a"], [("a", 2)]),
    "closure": (scaled(3), first, [5], [(0, 15)]),
    "method": (Scaler(4).map, first, [5], [(0, 20)]),
    "callable object": (Scaler(5), first, [5], [(0, 25)]),
    "partial": (functools.partial(lambda by, k, v: [(k, v * by)], 6), first, [5], [(0, 30)]),
    "function of a module": (helpers.map, first, [" A. "], [("a!", 1)]),
    "package": (of_package, first, [2], [(4, 4)]),
    "namespace package": (lambda k, v: [(k, space.part.triple(v))], first, [2], [(0, 6)]),
    "zip": (lambda k, v: [(k, zipped.half(v))], first, [2], [(0, 1)]),
    "module made at run time": (lambda k, v: [(k, made.quadruple(v))], first, [2], [(0, 8)]),
    "cached function": (lambda k, v: [(k, fibonacci(v))], first, [20], [(0, 6765)]),
    "cached property": (lambda k, v: [(w, 1) for w in v.words], first, [Text("a b")],
                        [("a", 1), ("b", 1)]),
    "exception class": (raises_own, first, [0], [("Broken", 1)]),
    "method that uses a global": (lambda k, v: [(v.loud(), 1)], first, [Word("a")], [("A!", 1)]),
    "type only in the items": (lambda k, v: [(v, 1)], first, [Pair(1, 2)], [(Pair(1, 2), 1)]),
    "type made there": (lambda k, v: [(k, Slotted(v))], first, ["a"], [(0, Slotted("a"))]),
}
same = [Word("a"), Slotted("a"), Colour.RED, Colour.BLUE, Pair(1, 2), Here(1), Tint.DARK]

def identity(key, value):
    return [(key, (value, type(value)))]

job = (identity, first, same, [(n, (value, type(value))) for n, value in enumerate(same)])
checks["same class"] = job
text = job[0], job[1], [Text("a b")], None

node = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE, cwd=sys.argv[2])
def run(map, reduce, items):
    pickle.dump((pickle_functions(Job(map, reduce)), pickle_items(items)), node.stdin)
    node.stdin.flush()
    return unpickle(pickle.load(node.stdout))

report = {}
for name, (map, reduce, items, expected) in checks.items():
    try:
        found = run(map, reduce, items)
        report[name] = "" if found == expected else f"{found!r}, not {expected!r}"
    except Exception as error:
        report[name] = repr(error)

found = run(identity, first, same)
kept = [result[0] for _, result in found]
report["same class"] = "" if all(
    type(a) is type(b) and kind is type(b) for (_, (a, kind)), b in zip(found, same)
) else repr([type(a) for a in kept])
report["same enum member"] = "" if kept[2] is Colour.RED and kept[6] is Tint.DARK else "no"
loud = Word.__dict__["loud"]
Word.later = "set since"
run(identity, first, same)
report["class untouched"] = "" if Word.__dict__["loud"] is loud and Word.later else "no"
(_, (back, kind)), = run(identity, first, [Text("a b")])
report["class with a cached property comes back"] = "" if kind is Text and back.words else "no"
node.stdin.close()
report["node ended"] = "" if node.wait(30) == 0 else "no"
print(json.dumps(report))
""",
}

CHECKS = [
    "main",
    "lambda",
    "closure",
    "method",
    "callable object",
    "partial",
    "function of a module",
    "package",
    "namespace package",
    "zip",
    "module made at run time",
    "cached function",
    "cached property",
    "exception class",
    "method that uses a global",
    "type only in the items",
    "type made there",
    "same class",
    "same enum member",
    "class untouched",
    "class with a cached property comes back",
    "node ended",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, content in FILES.items():
        path = (elsewhere if name == "node.py" else project) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    with zipfile.ZipFile(project / "zipped.zip", "w") as archive:
        archive.writestr("zipped.py", "def half(x):\n    return x // 2\n")
    library = str(Path(map_reduce.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "script.py", str(elsewhere / "node.py"), str(elsewhere)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": library},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("check", CHECKS)
def test_on_a_node_without_the_modules(report, check):
    assert report[check] == ""


def test_every_check_is_listed(report):
    assert sorted(report) == sorted(CHECKS)
