"""What the Pyro4 transport does beyond the contract: planes, pools, addresses, surroundings."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from certificate_folders import make_folder

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    Done,
    GetPiece,
    Message,
    No,
    Ping,
    Request,
)
from map_reduce.core.roles import Role
from map_reduce.errors import ConfigError, Unreachable
from map_reduce.transport.credentials import Certificates
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_greeting import BulkPlane
from map_reduce.transport.pyro_server import Limits

PATIENCE_S = 30.0
ANYWHERE = Address("127.0.0.1", 0)
PING = Request("", None, Ping())
PIECE = Request("", None, GetPiece("a block", 0, 1))

Node = Callable[..., Address]
Transports = Callable[..., PyroTransport]


@pytest.fixture
def client(transport: Transports) -> PyroTransport:
    return transport()


@pytest.fixture
def node(transport: Transports) -> Node:
    """Makes nodes that answer with a text."""

    def make(reply: str, address: Address = ANYWHERE, **settings: Any) -> Address:
        made = transport(**settings)
        where = made.listen(address)
        made.serve(lambda request: No(reply))
        return where

    return make


def connection_threads(address: Address) -> int:
    return sum(
        thread.name.startswith(f"map-reduce {address}") and "connection" in thread.name
        for thread in threading.enumerate()
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_addresses(client: PyroTransport, node: Node, host: str) -> None:
    address = node("here", Address(host, 0))
    assert address.host == host
    assert address.port > 0
    assert client.call(address, PING, PATIENCE_S) == No("here")
    assert client.call(address, PIECE, PATIENCE_S) == No("here")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_no_other_address_is_listened_on_or_called(client: PyroTransport, host: str) -> None:
    with pytest.raises(ConfigError, match=r"certs init.*certs issue NAME --host.*MR_CERTS_FOLDER"):
        client.listen(Address(host, 0))
    with pytest.raises(Unreachable, match="without certificates"):
        client.call(Address(host, 9), PING, PATIENCE_S)


def test_causes_are_in_the_text(client: PyroTransport, transport: Transports) -> None:
    gone = transport()
    address = gone.listen(ANYWHERE)
    with pytest.raises(Unreachable, match=rf"{address}: no reply to Ping within 0.05 s"):
        client.call(address, PING, 0.05)
    gone.close()
    with pytest.raises(Unreachable, match=rf"{address}: nobody listens there"):
        client.call(address, PING, PATIENCE_S)


def test_bulk_requests_never_delay_the_others(client: PyroTransport, transport: Transports) -> None:
    release = threading.Event()
    inside = threading.Semaphore(0)

    def handler(request: Request) -> Message:
        if request == PIECE:
            inside.release()
            release.wait(PATIENCE_S)
        return Done()

    busy = transport(bulk_handlers_max=2)
    address = busy.listen(ANYWHERE)
    busy.serve(handler)
    with ThreadPoolExecutor(2) as threads:
        pieces = [threads.submit(client.call, address, PIECE, PATIENCE_S) for _ in range(2)]
        assert all(inside.acquire(timeout=PATIENCE_S) for _ in pieces)
        with pytest.raises(Unreachable):  # every bulk handler is at work, so it is turned away
            client.call(address, PIECE, PATIENCE_S)
        assert client.call(address, PING, PATIENCE_S) == Done()
        release.set()
        assert [piece.result(PATIENCE_S) for piece in pieces] == [Done(), Done()]


def test_a_bulk_port_that_is_another_nodes_now_is_learnt_anew(
    client: PyroTransport, node: Node
) -> None:
    meant, other = node("meant"), node("other")
    client.call(meant, PIECE, PATIENCE_S)
    client.call(other, PIECE, PATIENCE_S)
    pool = client._pool
    plane, of_other = pool.bulk_plane(meant), pool.bulk_plane(other)
    assert plane is not None
    assert of_other is not None
    pool.drop_idle(plane.at(meant))
    pool.drop_idle(of_other.at(other))
    pool.remember(meant, BulkPlane(of_other.port, plane.instance))
    assert client.call(meant, PIECE, PATIENCE_S) == No("meant")
    assert pool.bulk_plane(meant) == plane


def test_a_silent_stranger_on_the_old_bulk_port_is_left_at_the_next_call(
    client: PyroTransport, node: Node, impostor: Callable[..., Address]
) -> None:
    meant = node("meant")
    client.call(meant, PIECE, PATIENCE_S)
    pool = client._pool
    plane = pool.bulk_plane(meant)
    assert plane is not None
    stranger = impostor(lambda sock: sock.recv(65536) and sock.recv(65536))
    pool.drop_idle(plane.at(meant))
    pool.remember(meant, BulkPlane(stranger.port, plane.instance))
    with pytest.raises(Unreachable):
        client.call(meant, PIECE, 0.1)
    assert client.call(meant, PIECE, PATIENCE_S) == No("meant")


def test_connections_are_kept_and_used_again(client: PyroTransport, node: Node) -> None:
    address = node("here")
    for _ in range(20):
        client.call(address, PING, PATIENCE_S)
        client.call(address, PIECE, PATIENCE_S)
    assert connection_threads(address) == 2


def test_only_so_many_connections_are_kept(
    node: Node, transport: Transports, until: Callable[..., None]
) -> None:
    client = transport(idle_connections_max=2)
    addresses = [node("here") for _ in range(4)]
    for address in addresses:
        client.call(address, PING, PATIENCE_S)
    until(lambda: [*map(connection_threads, addresses)] == [0, 0, 1, 1])


def test_what_is_kept_too_long_is_closed(
    node: Node, transport: Transports, until: Callable[..., None]
) -> None:
    client = transport(idle_s_max=0.0)
    address = node("here")
    for _ in range(3):
        client.call(address, PING, PATIENCE_S)
        until(lambda: connection_threads(address) == 0)


def test_a_connection_that_the_peer_dropped_as_idle_is_replaced(
    client: PyroTransport, node: Node, until: Callable[..., None]
) -> None:
    address = node("here", limits=Limits(idle_s_max=0.05))
    for request in (PING, PIECE, PING, PIECE):
        assert client.call(address, request, PATIENCE_S) == No("here")
        until(lambda: connection_threads(address) == 0)


def test_a_connection_that_the_peer_ended_is_not_used_again(
    client: PyroTransport, transport: Transports
) -> None:
    server = transport()
    address = server.listen(ANYWHERE)
    server.serve(lambda request: Done())
    client.call(address, PING, PATIENCE_S)
    kept = client._pool.take(address)
    assert kept is not None
    client._pool.give(kept)
    server.close()
    assert client._pool.take(address) is None


def test_a_connection_cut_in_use_is_retried_once_if_it_was_kept(
    client: PyroTransport, transport: Transports
) -> None:
    """As when the peer ends it as idle in the moment in which a request is under way."""
    seen = threading.Semaphore(0)
    server = transport()
    address = server.listen(ANYWHERE)

    def cut_all() -> None:
        serving = server._daemons[0].transportServer
        with serving._lock:  # a connection is answered before it is entered, but under the lock
            channels = [*serving._served.values()]
        assert channels
        for channel in channels:
            channel.cut()

    cuts = iter([False, True, False])

    def handler(request: Request) -> Message:
        seen.release()
        if next(cuts):
            cut_all()
        return Done()

    server.serve(handler)
    assert client.call(address, PING, PATIENCE_S) == Done()
    assert client.call(address, PING, PATIENCE_S) == Done()
    assert [seen.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


def test_a_new_connection_that_is_cut_is_not_retried(
    client: PyroTransport, transport: Transports
) -> None:
    seen: list[Request] = []
    server = transport()
    address = server.listen(ANYWHERE)

    def handler(request: Request) -> Message:
        seen.append(request)
        served = server._daemons[0].transportServer
        with served._lock:  # by the accept loop until it has noted this very connection
            for channel in served._served.values():
                channel.cut()
        return Done()

    server.serve(handler)
    with pytest.raises(Unreachable, match="closed the connection"):
        client.call(address, PING, PATIENCE_S)
    assert seen == [PING]


def run_python(script: str, *options: str, **environment: str) -> str:
    """What a script prints, run by a Python of its own."""
    done = subprocess.run(
        [sys.executable, *options, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_imports_pyro4_only_with_its_transport() -> None:
    run_python(
        "import sys, map_reduce, map_reduce.ports, map_reduce.transport.memory\n"
        "assert 'Pyro4' not in sys.modules\n"
        "import map_reduce.transport.pyro\n"
        "assert 'Pyro4' in sys.modules\n"
    )


EXCHANGE = """
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import *
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.credentials import Token
server, client = PyroTransport(Token(bytes(32))), PyroTransport(Token(bytes(32)))
address = server.listen(Address("127.0.0.1", 0))
server.serve(lambda request: Piece(bytes(1 << 20), 1))
def exchange():
    for body in Ping(), PutPiece(BlockRef("b", 1, b""), 0, bytes(1 << 20)):
        reply = client.call(address, Request("", None, body), 30)
        assert reply == Piece(bytes(1 << 20), 1)
"""


def test_settings_for_other_users_of_pyro4_neither_matter_nor_change() -> None:
    run_python(
        "import Pyro4, Pyro4.util, logging\n"
        "Pyro4.config.SERIALIZER = 'pickle'\n"
        "Pyro4.current_context.annotations = {'USER': b'own'}\n"
        "def state():\n"
        "    registries = Pyro4.util._serializers, Pyro4.util._serializers_by_id\n"
        "    context = Pyro4.current_context.to_global()\n"
        "    replaced = [dict(s.__class__.__dict__) for s in Pyro4.util._serializers.values()]\n"
        "    classes = {k: dict(v) for k, v in vars(Pyro4.util.SerializerBase).items()\n"
        "               if type(v) is dict}\n"
        "    level = logging.getLogger('Pyro4').level\n"
        "    return repr((Pyro4.config.asDict(), registries, context, replaced, classes, level))\n"
        "before = state()\n" + EXCHANGE + "exchange()\n"
        "client.close(); server.close()\n"
        "assert state() == before, (before, state())\n",
        "-Werror",
        PYRO_COMPRESSION="true",
        PYRO_MAX_MESSAGE_SIZE="1000",
        PYRO_COMMTIMEOUT="0.000001",
        PYRO_SERVERTYPE="multiplex",
        PYRO_SSL="true",
        PYRO_NATHOST="192.0.2.1",
        PYRO_NATPORT="9",
        PYRO_MAX_RETRIES="5",
    )


def test_after_a_fork_both_processes_go_on() -> None:
    printed = run_python(
        "import os, sys, warnings\n"
        "warnings.simplefilter('ignore')\n" + EXCHANGE + "exchange()\n"
        "before = client._pool.take(address)\n"
        "client._pool.give(before)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert client._pool.take(address) is None\n"
        "for _ in range(20):\n"
        "    exchange()\n"
        "if child == 0:\n"
        "    client.close()\n"
        "    server.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "kept = client._pool.take(address)\n"
        "assert kept is not None and kept is before, 'the child has cut it'\n"
        "client._pool.give(kept)\n"
        "exchange()\n"
        "client.close(); server.close()\n"
        "print('both')\n"
    )
    assert printed == "both\n"


def test_it_is_pyro4_a_plain_proxy_can_call_a_node(transport: Transports, tmp_path: Path) -> None:
    """Over Pyro4's own TLS, with our serializer entered where Pyro4 looks for it."""
    server = transport(Certificates(make_folder(tmp_path / "node")))
    address = server.listen(ANYWHERE)
    server.serve(lambda request: No("to a proxy"))
    client = make_folder(tmp_path / "client", Role.CLIENT)
    script = f"""
import Pyro4, Pyro4.util
from map_reduce.core.messages import Ping, Request
from map_reduce.transport import wire
from map_reduce.transport.pyro_serializer import OpaqueSerializer
opaque = OpaqueSerializer()
Pyro4.util._serializers["opaque"] = Pyro4.util._serializers_by_id[opaque.serializer_id] = opaque
Pyro4.config.SERIALIZER = "opaque"
Pyro4.config.METADATA = False
Pyro4.config.SSL = True
Pyro4.config.SSL_CACERTS = "{client}/authorities.pem"
Pyro4.config.SSL_CLIENTCERT = "{client}/certificate.pem"
Pyro4.config.SSL_CLIENTKEY = "{client}/key.pem"
with Pyro4.Proxy("PYRO:map_reduce@{address}") as proxy:
    proxy._pyroHandshake = "map-reduce/3 control"
    for _ in range(3):
        print(wire.decode_reply(proxy.rpc(wire.encode_request(Request("", None, Ping())))))
"""
    assert run_python(script) == "No(reason='to a proxy')\n" * 3


def test_senders_are_named_in_the_log(
    client: PyroTransport, transport: Transports, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(request: Request) -> Message:
        raise RuntimeError

    server = transport()
    address = server.listen(ANYWHERE)
    server.serve(faulty)
    sender = Member(Address("127.0.0.1", 4711), 1)
    client.call(address, Request("c", sender, Ping()), PATIENCE_S)
    client.call(address, PING, PATIENCE_S)
    assert "answering a Ping from 127.0.0.1:4711 failed" in caplog.text
    assert "answering a Ping from a client failed" in caplog.text


def test_a_handler_that_never_ends_does_not_hold_up_close_for_long(
    client: PyroTransport, transport: Transports, caplog: pytest.LogCaptureFixture
) -> None:
    release, inside = threading.Event(), threading.Event()

    def handler(request: Request) -> Message:
        inside.set()
        release.wait(PATIENCE_S)
        return Done()

    server = transport(limits=Limits(close_s_max=0.05))
    address = server.listen(ANYWHERE)
    server.serve(handler)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.call, address, PING, PATIENCE_S)
        assert inside.wait(PATIENCE_S)
        server.close()
        assert not release.is_set()
        with pytest.raises(Unreachable):
            call.result(PATIENCE_S)
    assert f"map-reduce {address} control connection from 127.0.0.1: did not end" in caplog.text
    release.set()
