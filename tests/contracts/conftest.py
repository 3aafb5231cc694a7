"""Every kind of transport."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from certificate_folders import make_folder
from transport_world import World

from map_reduce.core.identifiers import Address
from map_reduce.transport.credentials import Certificates, Credentials, Token
from map_reduce.transport.memory import EMBEDDED, MemoryNetwork, MemoryTransport
from map_reduce.transport.pyro import PyroTransport


@pytest.fixture(params=["memory", "pyro with a token", "pyro with certificates"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        network = MemoryNetwork()
        world = World(lambda: MemoryTransport(network), EMBEDDED)
    else:
        proof: Credentials = Token(bytes(32))
        if request.param.endswith("certificates"):
            proof = Certificates(make_folder(tmp_path / "node"))
        world = World(lambda: PyroTransport(proof), Address("127.0.0.1", 0))
    yield world
    for transport in world.made:
        transport.close()
