"""Functions and items that do not pickle are explained; what is borrowed is given back."""

import functools
import io
import itertools
import pickle
import re
import socket
import sqlite3
import sys
import threading
import types
from dataclasses import dataclass, field

import cloudpickle
import pytest
from cloudpickle.cloudpickle import list_registry_pickle_by_value

from map_reduce import pickling
from map_reduce.client.shipping import (
    _own_modules_by_value,
    pickle_functions,
    pickle_items,
    unpickle,
)
from map_reduce.errors import FunctionError, InputTypeError
from map_reduce.job import Job

connection = sqlite3.connect(":memory:")
connection.close()
deep: list = []
for _ in range(100_000):
    deep = [deep]


def fine(key, value):
    return [(key, value)]


def uses_global(key, value):
    return connection.execute(value)


def uses_it_by_another(key, value):
    return uses_global(key, value)


def uses_it_in_a_comprehension(key, value):
    return [connection.execute(v) for v in value]


def uses_deep(key, value):
    return deep


def around(lock):
    def inner(key, value):
        with lock:
            return []

    return inner


class Counter:
    def __init__(self):
        self.state = {"seen": [1, threading.Lock()]}

    def map(self, key, value):
        return []

    def __call__(self, key, value):
        return []


class Slotted:
    __slots__ = ("lock", "unset")

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, key, value):
        return []


class Refuses:
    def __reduce__(self):
        raise ZeroDivisionError("not today")

    def __call__(self, key, value):
        return []


class WithLock:
    lock = threading.Lock()


def makes_with_lock(key, value):
    return WithLock()


def with_default(key, value, lock=threading.Lock()):  # noqa: B008
    return []


def with_keyword_default(key, value, *, lock=threading.Lock()):  # noqa: B008
    return []


def decorated(key, value):
    return []


decorated.lock = threading.Lock()
cached = functools.lru_cache(around(threading.Lock()))
own_module = types.ModuleType("own_module")
own_module.lock = threading.Lock()


def uses_a_module(key, value):
    return own_module.lock


LOCK = "(_thread.lock), which cannot be pickled. Make it inside the function instead."
UNPICKLABLE = {
    "global": (
        uses_global,
        "it uses the global 'connection' (sqlite3.Connection), which cannot be pickled. "
        "Open it inside the function instead.",
    ),
    "global of another": (
        uses_it_by_another,
        "it uses the global 'uses_global' (a function), which uses the global 'connection' "
        "(sqlite3.Connection), which cannot be pickled. Open it inside the function instead.",
    ),
    "global in inner code": (uses_it_in_a_comprehension, "it uses the global 'connection'"),
    "cell": (
        around(threading.Lock()),
        "it uses the variable 'lock' of the function around it " + LOCK,
    ),
    "default": (with_default, "it has the default lock= " + LOCK),
    "keyword default": (with_keyword_default, "it has the default lock= " + LOCK),
    "attribute of a function": (decorated, "it has the attribute 'lock' " + LOCK),
    "bound self": (
        Counter().map,
        "it is a method of an object (test_shipping.Counter), which has the attribute 'state' "
        "(dict), which has under 'seen' an entry (list), which has the element 1 " + LOCK,
    ),
    "callable object": (Counter(), "it has the attribute 'state' (dict), which has under 'seen'"),
    "slot": (Slotted(), "it has the attribute 'lock' " + LOCK),
    "partial": (
        functools.partial(fine, connection),
        "it has the argument 0 (sqlite3.Connection), which cannot be pickled",
    ),
    "partial's keyword": (functools.partial(fine, value=around(threading.Lock())), "'value'"),
    "class": (
        makes_with_lock,
        "it uses the global 'WithLock' (a class), which has the attribute 'lock' " + LOCK,
    ),
    "cached": (cached, "it wraps the function (a function), which uses the variable 'lock'"),
    "own __reduce__": (
        Refuses(),
        "it is a test_shipping.Refuses, which cannot be pickled (not today).",
    ),
    "generator": (
        functools.partial(fine, (n for n in "ab")),
        "(generator), which cannot be pickled. Make it a list first.",
    ),
    "socket": (
        functools.partial(fine, socket.socket),
        None,  # the class alone travels
    ),
    "module": (
        uses_a_module,
        "it uses the global 'own_module' (a module), which has the global 'lock' (_thread.lock), "
        "which cannot be pickled. Import the names that are used, not the whole module",
    ),
    "depth": (
        uses_deep,
        "it uses the global 'deep' (list), which is nested too deeply to be pickled. "
        "Make it flatter.",
    ),
}


@pytest.mark.parametrize("case", UNPICKLABLE)
@pytest.mark.parametrize("role", ["map", "reduce", "combine"])
def test_what_does_not_pickle_is_named(case, role):
    function, text = UNPICKLABLE[case]
    functions = {"map": fine, "reduce": fine, "combine": fine} | {role: function}
    if text is None:
        pickle_functions(Job(**functions))
        return
    with pytest.raises(FunctionError, match=re.escape(text)) as raised:
        pickle_functions(Job(**functions))
    assert str(raised.value).startswith(f"{role} does not travel: it ")
    assert raised.value.__cause__ is not None


@dataclass
class Item:
    lock: object = field(default_factory=threading.Lock)


def test_items_that_do_not_pickle_are_named():
    with pytest.raises(InputTypeError, match=r"^item 12 does not travel: it has the attribute"):
        pickle_items([1, 2, Item()], first_index=10)
    with pytest.raises(InputTypeError, match=r"^the value of key 'b' does not travel: it is a "):
        pickle_items([("a", 1), ("b", threading.Lock())], keyed=True)
    with pytest.raises(InputTypeError, match=r"^the key .* does not travel: it is a _thread.lock"):
        pickle_items([(threading.Lock(), 1)], keyed=True)
    with pytest.raises(InputTypeError, match=r"^item 1 does not travel: .* nested too deeply"):
        pickle_items([1, deep])


def test_the_search_is_bounded():
    wide = [[n] for n in range(100_000)]
    wide.append(threading.Lock())
    with pytest.raises(InputTypeError, match="item 0 does not travel"):
        pickle_items([wide])
    chain: object = threading.Lock()
    for _ in range(200):
        chain = [chain]
    with pytest.raises(InputTypeError, match="item 0 does not travel") as raised:
        pickle_items([chain])
    assert len(str(raised.value)) < 2_000


def test_the_tuple_is_map_reduce_combine():
    functions = pickle.loads(pickle_functions(Job(fine, lambda key, values: sum(values))))
    assert functions[0](1, 2) == [(1, 2)]
    assert functions[1]("k", [1, 2]) == 3
    assert functions[2] is None


def test_plain_items_are_a_plain_pickle():
    items = [1, "two", (3.0, None), {"four": b"5"}]
    assert pickle.loads(pickle_items(items)) == items
    assert pickle_items([1, "two"]) == pickle.dumps([1, "two"], protocol=5)


def test_the_registry_is_restored():
    before = list_registry_pickle_by_value()
    pickle_functions(Job(fine, fine))
    with pytest.raises(FunctionError):
        pickle_functions(Job(uses_global, fine))
    assert list_registry_pickle_by_value() == before


def test_what_the_user_registered_stays_registered():
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        pickle_functions(Job(fine, fine))
        assert module.__name__ in list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_the_user_may_change_the_registry_meanwhile():
    class Unregisters:
        def __reduce__(self):
            cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
            return int, ()

    assert pickle.loads(pickle_items([Unregisters()])) == [0]
    assert __name__ not in list_registry_pickle_by_value()


def test_threads_do_not_disturb_each_other():
    start, failures = threading.Barrier(4), []

    def pickle_many():
        start.wait()
        for _ in range(50):
            if b"test_shipping\x94\x8c\x04fine" in pickle_functions(Job(fine, fine)):
                failures.append("by name")

    threads = [threading.Thread(target=pickle_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert __name__ not in list_registry_pickle_by_value()


class Tagged:
    tag = "mine"

    def method(self):
        return self.tag


def test_results_leave_the_classes_of_this_process_alone():
    with _own_modules_by_value():  # as on a node, where the class is of no module
        data = pickling.dumps([Tagged()])
    Tagged.tag = "changed since"
    method = Tagged.__dict__["method"]
    try:
        (result,) = unpickle(data)
        assert type(result) is Tagged
        assert Tagged.tag == "changed since"
        assert Tagged.__dict__["method"] is method
    finally:
        Tagged.tag = "mine"


def test_unpickling_makes_classes_this_process_does_not_have():
    def make():
        class Local:
            def __eq__(self, other):
                return type(self) is type(other)

        return Local()

    data = pickling.dumps(make())  # the class is forgotten with its only instance
    first = unpickle(data)
    assert first == unpickle(data)
    assert type(first).__name__ == "Local"


@pytest.mark.parametrize(
    "module", [re, itertools, io, sys, pytest, cloudpickle, pickling, types, sqlite3, None, "x"]
)
def test_what_every_node_has_is_not_the_users_own(module):
    assert not pickling.is_own(module)


def test_what_is_the_users_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "__mp_main__", sys.modules["__main__"])
    assert pickling.is_own(sys.modules[__name__])
    assert pickling.is_own(sys.modules["__main__"])
    assert pickling.is_own(own_module)
    assert sys.modules[__name__] in pickling.own_modules()
    assert sys.modules["__main__"] not in pickling.own_modules()


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/home/ada/script.py", True),
        ("/home/ada/statistics.py", True),
        ("/home/ada/app.zip/helpers.py", True),
        ("/home/ada/.venv/lib/python3.11/site-packages/numpy/__init__.py", False),
        ("/usr/lib/python3/dist-packages/apt/__init__.py", False),
        ("/home/ada/fast" + pickling._COMPILED[0], False),
        (re.__file__, False),
        ("<frozen os>", False),
    ],
)
def test_by_its_file(file, own):
    module = types.ModuleType("some_module")
    module.__file__ = file
    assert pickling.is_own(module) is own


def test_modules_made_at_run_time_belong_to_their_package(monkeypatch):
    made = types.ModuleType("pytest.moves")
    assert not pickling.is_own(made)
    made = types.ModuleType("test_shipping.moves")
    assert pickling.is_own(made) is pickling.is_own(sys.modules.get("test_shipping"))
