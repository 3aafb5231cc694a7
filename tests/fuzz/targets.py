"""Everything that decodes bytes which somebody else may have written, one function each.

A target takes any bytes. It returns, or raises one of the errors that it may: everything else is a
finding, and so is a result that is not what it should be. ``run.py`` feeds them with bytes that
find new paths, for as long as one likes; ``test_fuzz_slice.py`` with the corpus and a fixed number
of changes to it.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    BlockRef,
    JobSpec,
    Message,
    No,
    Replica,
)
from map_reduce.core.messages.records import AcceptRecord, GetRecord, PrepareRecord
from map_reduce.core.registers.acceptor import Acceptor, Reply
from map_reduce.core.roles import THIS_PROCESS, Caller, Role, refusal
from map_reduce.errors import BlockCorruptError, BlockMissingError, ConfigError, ProtocolError
from map_reduce.server.discovery import decode_cluster_file
from map_reduce.storage.journal import DamagedJournal, decode
from map_reduce.storage.memory import MemoryBlockStore
from map_reduce.transport import wire
from map_reduce.transport.answering import answer
from map_reduce.transport.credentials import caller_of
from map_reduce.transport.pyro_channel import Channel, Cut
from map_reduce.transport.pyro_greeting import BulkPlane, Rejected, _check_hello
from map_reduce.transport.pyro_packing import Packer
from map_reduce.transport.pyro_serializer import OpaqueSerializer
from map_reduce.workers.protocol import daemon_side

CLIENT = Caller(Role.CLIENT, "bob", frozenset())
NODE = Caller(Role.NODE, "n1", frozenset({"127.0.0.1"}))
KINDS = range(7)


def request(data: bytes) -> None:
    """What stands in a call: decoded, judged by role, and asked of a replica of records."""
    try:
        decoded = wire.decode_request(data)
    except ProtocolError:
        return
    again = wire.encode_request(decoded)  # as bytes: what is not a number equals nothing
    assert wire.encode_request(wire.decode_request(again)) == again
    body = decoded.body
    for caller in (CLIENT, NODE, THIS_PROCESS):
        reason = refusal(caller, decoded)
        assert reason is None or isinstance(reason, str)
    if isinstance(body, GetRecord | PrepareRecord | AcceptRecord):
        acceptor = Acceptor(Replica(Address("127.0.0.1", 1), body.identity))
        effects = acceptor.handle(body)
        assert effects
        assert isinstance(effects[-1], Reply)
        wire.encode_reply(effects[-1].message)


def answering(data: bytes) -> None:
    """A whole answer: always a reply, and to a client none but to what it may ask."""
    asked: list[Message] = []

    def handler(asked_for: wire.Request) -> Message:
        asked.append(asked_for.body)
        return asked_for.body

    reply = wire.decode_reply(answer(handler, data, CLIENT))
    assert type(asked[0]) is type(reply) if asked else isinstance(reply, No)


def reply(data: bytes) -> None:
    """What stands in a result."""
    try:
        decoded = wire.decode_reply(data)
    except ProtocolError:
        return
    again = wire.encode_reply(decoded)
    assert wire.encode_reply(wire.decode_reply(again)) == again


def specification(data: bytes) -> None:
    """A job's specification, which a client stores and a node reads."""
    try:
        spec = JobSpec.decode(data)
    except ProtocolError:
        return
    assert JobSpec.decode(spec.encode()).encode() == spec.encode()


def serializer(data: bytes) -> None:
    """The body of a frame, as each of the two ends cuts it."""
    opaque = OpaqueSerializer()
    for cut in (opaque.loads, opaque.loadsCall):
        try:
            cut(data)
        except ProtocolError:
            continue


class PairChannel(Channel):
    """Over a pair of sockets, which have no options of TCP."""

    def _set_options(self) -> None:
        pass


def channel(data: bytes) -> None:
    """Frames over a socket, until the first that is refused; and where they may be deflated."""
    _frames(data, None)
    _frames(data, Packer(None))


def _frames(data: bytes, packer: Packer | None) -> None:
    ours, theirs = socket.socketpair()
    end = PairChannel(ours)
    if packer is not None:
        end.pack_by(packer)
    with ours, theirs:
        theirs.sendall(data[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        try:
            while True:
                end.receive(KINDS, time.monotonic() + 5)
        except (Cut, ProtocolError):
            return


def greeting(data: bytes) -> None:
    """What the two ends of a connection say first."""
    text = data.decode("ascii", "ignore")
    try:
        plane = BulkPlane.parse(text)
    except ProtocolError:
        pass
    else:
        assert 0 < plane.port < 65536
        assert BulkPlane.parse(str(plane)) == plane
    try:
        nonce = _check_hello(text, "control", words_max=3)
    except Rejected:
        return
    assert text.startswith("map-reduce/3 control")
    assert " " not in nonce


def pieces(data: bytes) -> None:
    """Pieces of blocks in any order, with any place and length: a block that is whole is right."""
    store, whole = MemoryBlockStore(), bytes(range(64))
    for at in range(0, len(data) - 4, 5):
        block, size, offset, length, operation = data[at : at + 5]
        content = whole[: size % 65]
        ref = BlockRef(f"b/{block % 4}", len(content), digest_of(content))
        try:
            if operation % 8 == 7:
                store.discard(ref.name)
            elif operation % 8 == 6:
                found, found_size = store.read(ref.name, offset % 65, length)
                assert found == whole[:found_size][offset % 65 :][:length]
            else:
                start = offset % 70
                piece = content[start : start + length % 65] if operation % 8 else data[:length]
                if store.put_piece(ref, start - (operation == 5), piece):
                    assert store.holds(ref.name)
        except (BlockMissingError, BlockCorruptError, ProtocolError):
            continue


def records(data: bytes) -> None:
    """The journal of a replica of records."""
    try:
        journal = decode(data)
    except (DamagedJournal, ConfigError):
        return
    assert 0 <= journal.cut_bytes <= len(data)


def cluster_file(data: bytes) -> None:
    """The cluster file, and the addresses in it."""
    try:
        content = decode_cluster_file(data, Path("cluster.json"))
        for text in content.addresses:
            address = Address.parse(text)
            assert Address.parse(str(address)) == address
    except ConfigError:
        return


def certificate_names(data: bytes) -> None:
    """Who is named in a certificate of a trusted authority."""
    parts = data.decode("utf-8", "replace").split("\n")
    kinds = ("DNS", "IP Address", "URI", "email", "DirName")
    names = tuple((kinds[len(part) % 5], part) for part in parts[1:])
    caller = caller_of({"subject": ((("commonName", parts[0]),),), "subjectAltName": names})
    if caller is not None:
        assert sum(name.startswith("urn:map-reduce:role:") for _, name in names) == 1
        assert caller.hosts is not None
        caller.may_be_at(parts[0])
        str(caller)


def certificate(data: bytes) -> None:
    """A file of authorities, and what a certificate says by OpenSSL's reading."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=data)
        read = context.get_ca_certs()
    except (ssl.SSLError, ValueError):
        return
    for one in read:
        caller_of(one)


def worker(data: bytes) -> None:
    """What a worker process, which runs user code, says to its node."""
    reader = daemon_side()
    reader._buffer += data
    try:
        for message in reader.messages():
            msgspec.msgpack.encode(message)
    except ProtocolError:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(request, answering, reply, specification, serializer, channel, greeting),
        *(pieces, records, cluster_file, certificate_names, certificate, worker),
    )
}
