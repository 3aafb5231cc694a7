"""The simulated disk and its store do what the real ones do."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.core.digests import digest_of
from map_reduce.core.messages import BlockRef
from map_reduce.errors import MapReduceError
from map_reduce.simulation.blocks.disk import Disk, File, Store
from map_reduce.storage.disk import DiskBlockStore

CONTENTS = {"a/1": b"abcdef", "a/2": b"", "b/1": b"xyz"}
REFS = [BlockRef(name, len(data), digest_of(data)) for name, data in CONTENTS.items()]
LIES = [BlockRef(ref.name, ref.size_bytes, b"x" * 16) for ref in REFS]

names = st.sampled_from(sorted(CONTENTS))
steps = st.one_of(
    st.tuples(
        st.just("put"), st.sampled_from([*REFS, *LIES]), st.integers(0, 6), st.integers(0, 6)
    ),
    st.tuples(st.just("read"), names, st.integers(0, 7), st.integers(0, 7)),
    st.tuples(st.sampled_from(["discard", "verify", "ref_of"]), names),
    st.tuples(st.just("delete_prefix"), st.sampled_from(["a/", "b/", ""])),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("spoil"), names, st.booleans()),
)


class Real:
    """A DiskBlockStore with a data folder, and what people do to its files."""

    def __init__(self, folder):
        self.folder = folder
        self.reopen()

    def reopen(self):
        self.store = DiskBlockStore(self.folder, temporary=False)

    def spoil(self, name, cut):
        path = self.store.path_of(name)
        if path is not None and path.exists():
            path.write_bytes(spoiled(path.read_bytes(), cut))


class Simulated:
    def __init__(self):
        self.disk = Disk(lambda name: None)
        self.reopen()

    def reopen(self):
        self.store = Store(self.disk, lambda name: None)

    def spoil(self, name, cut):
        file = self.disk.files.get(name)
        if file is not None:
            self.disk.files[name] = File(file.ref, spoiled(file.data, cut))


def spoiled(data, cut):
    return data[:-1] if cut else bytes(byte ^ 1 for byte in data)


def perform(one, step):
    """What a step answers, or the kind of error that it raises."""
    kind, *arguments = step
    try:
        if kind == "put":
            ref, start, end = arguments
            return one.store.put_piece(ref, start, CONTENTS[ref.name][start:end])
        if kind in ("reopen", "spoil"):
            return getattr(one, kind)(*arguments)
        answer = getattr(one.store, kind)(*arguments)
    except MapReduceError as error:
        return type(error)
    return None if kind == "delete_prefix" else answer


@given(st.lists(steps, max_size=25))
@settings(max_examples=150, deadline=None)
def test_both_answer_alike(steps):
    logging.disable(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            real, simulated = Real(Path(folder)), Simulated()
            for step in steps:
                assert perform(real, step) == perform(simulated, step), step
                assert set(real.store.refs()) == set(simulated.store.refs())
    finally:
        logging.disable(logging.NOTSET)
