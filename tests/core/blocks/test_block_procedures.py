"""Storing, reading and fetching, against members of which anything may be wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.blocks.copying import NoRoomHere, fetch
from map_reduce.core.blocks.effects import Adopt, Allow, Keep, Load, TakeOwn
from map_reduce.core.blocks.reading import read, read_own
from map_reduce.core.blocks.writing import store
from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    BlockRef,
    Busy,
    DamagedBlock,
    Done,
    GetPiece,
    No,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
)
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import (
    BlockCorruptError,
    BlockMissingError,
    ClusterError,
    Refused,
    Unreachable,
)

PIECE_BYTES = 4
MEMBERS = [Member(Address("node", port), 1) for port in range(1, 8)]
NATURES = ("sound", "silent", "refuses", "busy", "lacks it", "damaged", "short", "nonsense")

natures = st.lists(st.sampled_from(NATURES), min_size=1, max_size=7)
contents = st.binary(max_size=13)


def block(content):
    return BlockRef("job/x", len(content), digest_of(content))


class Ring:
    """Members of the given natures, and the bytes here.

    Attributes:
        got: pieces that each member was sent.
        told: members that were told of damage.
        here: what was kept here.
        asked: members that were asked for pieces, in order.
    """

    def __init__(self, natures, content):
        self.natures = dict(zip(MEMBERS, natures, strict=False))
        self.content = content
        self.got = dict.fromkeys(self.natures, b"")
        self.told = []
        self.asked = []
        self.here = b""
        self.allowed = 0
        self.checks = False
        self.room = True

    @property
    def line(self):
        return tuple(self.natures)

    def carry_out(self, effect):
        match effect:
            case Ask(peer, message):
                return self.answer(peer, message)
            case Load(_, offset, length_bytes):
                return self.content[offset : offset + length_bytes]
            case Allow(size_bytes):
                self.allowed += size_bytes
            case Adopt():
                self.here = self.content
            case Keep(ref, offset, data):
                if not self.room:
                    raise Refused("no room")
                self.here = self.here[:offset] + data
                if self.checks and len(self.here) == ref.size_bytes:
                    if digest_of(self.here) != ref.digest:
                        raise BlockCorruptError("damaged")
                    return True
                return False
        return None

    def perform(self, procedure):
        """What it returns, or the error that it ends with."""
        try:
            return perform(procedure, self.carry_out)
        except ClusterError as error:
            return error

    def answer(self, member, message):
        nature = self.natures[member]
        if nature == "silent":
            raise Unreachable(f"{member} is silent")
        if isinstance(message, DamagedBlock):
            self.told.append(member)
            return Done()
        if nature in ("refuses", "busy", "nonsense"):
            return {"refuses": No("no room"), "busy": Busy(), "nonsense": Done()}[nature]
        if isinstance(message, PutPiece):
            assert message.offset == len(self.got[member])
            self.got[member] += message.data
            return PieceStored(len(self.got[member]) == message.ref.size_bytes)
        assert isinstance(message, GetPiece)
        self.asked.append(member)
        if nature == "lacks it":
            return NoBlock(message.name)
        content = self.content
        if nature == "damaged":
            content = bytes(byte ^ 1 for byte in content)
        if nature == "short":
            content = content[:-1]
        return Piece(content[message.offset :][: message.length_bytes], len(content))


TAKES = {"sound", "lacks it", "damaged", "short"}


@given(natures, contents, st.integers(1, 6), st.none() | st.integers(0, 6))
def test_a_block_is_acknowledged_if_and_only_if_a_majority_of_its_group_keeps_it(
    natures, content, replicas, own
):
    ring = Ring(natures, content)
    me = None if own is None else MEMBERS[own]
    group = ring.line[:replicas]
    keepers = {m for m in group if m == me or ring.natures[m] in TAKES}
    procedure = store(block(content), ring.line, replicas=replicas, me=me, piece_bytes=PIECE_BYTES)
    stored = ring.perform(procedure)
    acknowledged = 2 * len(keepers) > len(group)
    if acknowledged:
        assert (stored.group, set(stored.keepers)) == (group, keepers)
    else:
        assert isinstance(stored, Unreachable)
        others = keepers - {me}  # I would have kept it last, and only to make a majority
        assert f"on {len(others)} of {len(group)} nodes" in str(stored)
        assert str(stored).count("node:") >= len(group) - len(keepers)
    for member in ring.line:
        assert ring.got[member] == (content if member in keepers and member != me else b"")
    assert ring.here == (content if me in group and acknowledged else b"")


@given(natures, contents)
def test_a_reader_gets_the_bytes_from_the_first_who_has_them_or_an_error(natures, content):
    ring = Ring(natures, content)
    sound = [m for m in ring.line if ring.natures[m] == "sound"]
    damaged = {m for m in ring.line if ring.natures[m] in ("damaged", "short")}
    error = ring.perform(read(block(content), ring.line, piece_bytes=PIECE_BYTES))
    if not content:
        assert error is None
    elif sound:
        before = ring.line[: ring.line.index(sound[0])]
        assert ring.here == content
        assert set(ring.told) == damaged & set(before)
        assert ring.asked[-1] == sound[0]
    else:
        assert isinstance(error, BlockMissingError)
        assert all(str(member) in str(error) for member in ring.line)
        assert set(ring.told) == damaged


@given(natures, contents.filter(bool), st.sets(st.sampled_from(MEMBERS)))
def test_a_copy_is_fetched_from_the_first_who_has_it(natures, content, silent):
    ring = Ring(natures, content)
    ring.checks = True
    known_silent = set(silent)
    sound = [m for m in ring.line if ring.natures[m] == "sound" and m not in silent]
    procedure = fetch(block(content), ring.line, known_silent, piece_bytes=PIECE_BYTES)
    error = ring.perform(procedure)
    if sound:
        assert ring.here == content
        assert ring.asked[-1] == sound[0]
    else:
        assert isinstance(error, BlockMissingError)
    assert not silent & set(ring.asked)
    tried = ring.line[: ring.line.index(sound[0]) + 1] if sound else ring.line
    assert known_silent == silent | {m for m in tried if ring.natures[m] == "silent"}
    assert ring.allowed >= len(content) * bool(sound)


def test_who_has_no_room_downloads_once():
    ring = Ring(["sound"] * 5, b"hello")
    ring.room = False
    assert isinstance(ring.perform(fetch(block(b"hello"), ring.line, set())), NoRoomHere)
    assert ring.asked == [MEMBERS[0]]


def test_a_damaged_own_copy_is_reported_and_not_used():
    ring = Ring(["sound"], b"hello")

    def carry_out(effect):
        if isinstance(effect, TakeOwn):
            raise BlockCorruptError("damaged")
        return ring.carry_out(effect)

    assert perform(read_own(block(b"hello"), MEMBERS[0]), carry_out) is False
    assert ring.told == [MEMBERS[0]]
    assert perform(read_own(block(b"hello"), MEMBERS[0]), lambda effect: True) is True


def test_every_error_of_a_procedure_is_one_of_the_cluster():
    ring = Ring(["nonsense"], b"hello")
    for procedure in (
        store(block(b"hello"), ring.line, replicas=5),
        read(block(b"hello"), ring.line),
        fetch(block(b"hello"), ring.line, set()),
    ):
        assert isinstance(ring.perform(procedure), ClusterError)
