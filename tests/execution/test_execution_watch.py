"""Whose code a frame is, and how looks at it add up."""

import codecs
import sys
from types import SimpleNamespace

import pytest

from map_reduce.execution import map_side, partitioned
from map_reduce.execution.watch import Watch, in_user_code

OURS = map_side.__file__
READY_MADE = OURS.replace("execution/map_side.py", "reducers.py")
LIBRARY = codecs.__file__
INSTALLED = LIBRARY.replace("codecs.py", "site-packages/tool.py")
USERS = "/home/me/job.py"


def frame(*files):
    """The innermost of frames of functions in these files, the outermost first."""
    made = None
    for file in files:
        made = SimpleNamespace(f_code=SimpleNamespace(co_filename=file), f_back=made)
    return made


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([OURS], False),
        ([OURS, USERS], True),
        ([OURS, "<stdin>"], True),
        ([OURS, USERS, USERS, LIBRARY], True),
        ([OURS, LIBRARY], False),
        ([OURS, "<frozen codecs>"], False),
        ([OURS, INSTALLED], True),
        ([OURS, INSTALLED, LIBRARY], True),
        ([OURS, READY_MADE], True),
        ([OURS, USERS, OURS], False),
        ([USERS], False),
        ([], False),
    ],
)
def test_user_code_is_what_our_machinery_calls_and_what_that_calls(files, expected):
    assert in_user_code(frame(*files)) is expected


def test_real_frames():
    seen = []

    class Key:
        def __hash__(self):
            seen.append(in_user_code(sys._getframe()))
            return 1

    groups = {Key(): []}
    assert not any(seen), "there is no machinery under this"
    seen.clear()
    list(partitioned.written(groups, 1, plain=True))
    assert seen
    assert all(seen)


def test_each_look_counts_the_time_since_the_last():
    watch = Watch(10.0)
    watch.look(frame(OURS, USERS), 10.5)
    watch.look(None, 13.5)
    watch.look(frame(OURS, USERS), 14.0)
    assert (watch.watched_s, watch.in_user_code_s) == (4.0, 1.0)
