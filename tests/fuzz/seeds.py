"""Where fuzzing begins: something right for each target, made from what there is to say.

Made anew each time, so that a message that is added is among them. What fuzzing has found
besides is in ``corpus``.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from pathlib import Path

from message_samples import sample

from map_reduce.core.messages import MESSAGES, JobSpec, Message, Request
from map_reduce.core.registers.acceptor import Held
from map_reduce.storage.journal import ENTRIES_AT, MARK_AT, Header, encode_entry, encode_mark
from map_reduce.storage.journal import encode_start as encode_journal_start
from map_reduce.transport import wire
from map_reduce.transport.pyro_greeting import BulkPlane
from map_reduce.workers.protocol import Ended, Ready, Report, framed

CORPUS = Path(__file__).parent / "corpus"


def journal() -> bytes:
    """A small journal of records."""
    entry = encode_entry(sample(Held))
    data = bytearray(encode_journal_start(Header(1, 2))) + entry
    mark = encode_mark(ENTRIES_AT + len(entry))
    data[MARK_AT : MARK_AT + len(mark)] = mark
    return bytes(data)


def frame(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A frame of ours, by Pyro4's own hand."""
    from Pyro4.message import Message as PyroMessage

    header = PyroMessage(kind, b"", 77, flags, 1)
    header.data_size = len(body)
    return bytes(header.to_bytes() + body)


def seeds_of(target: str) -> list[bytes]:
    """What to begin with, the corpus included."""
    bodies: list[Message] = [sample(kind) for kind in MESSAGES]
    requests = [wire.encode_request(Request("", None, body)) for body in bodies]
    replies = [wire.encode_reply(body) for body in bodies]
    calls = [b"cmap_reduce\nrpc\n" + data for data in requests[:3]]
    named = "n1\nurn:map-reduce:role:node\n10.0.0.5\nnode1.example\n"
    made: dict[str, list[bytes]] = {
        "request": requests,
        "answering": requests,
        "reply": replies,
        "specification": [sample(JobSpec).encode()],
        "serializer": [*calls, b"b" + replies[0], b"hmap-reduce/3 control"],
        "channel": [
            frame(4, calls[0]) + frame(1, b"hhello"),
            frame(5, b"b" + replies[0]),
            frame(5, zlib.compress(b"b" + replies[0]), flags=2),
        ],
        "greeting": [
            str(BulkPlane(4711, "7f3a")).encode(),
            b"map-reduce/3 control " + b"1" * 32,
            b"map-reduce/3 control",
        ],
        "pieces": [bytes((1, 64, 0, 64, 1)), bytes((1, 9, 0, 4, 1, 1, 9, 4, 5, 1, 1, 9, 0, 9, 6))],
        "records": [journal()],
        "cluster_file": [
            b'{"cluster_id": "1", "addresses": ["127.0.0.1:9000", "[::1]:1"], "pid": 1}',
        ],
        "certificate_names": [named.encode(), named.replace("node", "client").encode()],
        "certificate": [],
        "worker": [framed(one) for one in (Ready(), sample(Report), sample(Ended))],
    }
    return made[target] + [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


def changed(data: bytes, others: list[bytes], draw: random.Random) -> Iterator[bytes]:
    """Variations without end: bits, bytes, numbers at their bounds, cuts, repeats, splices."""
    while True:
        new = bytearray(data)
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            at = draw.randrange(len(new) + 1)
            end = min(len(new), at + draw.choice((1, 1, 2, 4, 8, 64)))
            way = draw.randrange(7)
            if way == 0 and at < len(new):
                new[at] ^= 1 << draw.randrange(8)
            elif way == 1:
                new[at:end] = draw.randbytes(end - at)
            elif way == 2:
                number = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 1 << 31))
                new[at:end] = number.to_bytes(8, "big")[-max(1, end - at) :]
            elif way == 3:
                del new[at:end]
            elif way == 4:
                new[at:at] = new[at:end] * draw.choice((1, 2, 16))
            elif way == 5:
                new[at:at] = draw.choice(
                    (b"\xdd\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\x91")
                )
            else:
                other = draw.choice(others)
                new[at:] = other[draw.randrange(len(other) + 1) :]
        yield bytes(new[: 1 << 16])
