"""Masters: who may write on behalf of a job, and how one takes over from another.

The value of a record with a master is a :class:`Lease`: an epoch, the master of that epoch, until
when others should leave it in peace, and the payload. The functions here make changes for
:meth:`~map_reduce.core.registers.proposer.Proposer.compare_and_set`; they decide nothing by time.

- **Taking over** raises the epoch by one, and only from the epoch that the candidate saw: of
  two candidates, one comes first and the other finds another epoch. Anybody may take over at any
  time; ``until_hint_s`` merely says when it would be rude. Clocks that differ cost an unnecessary
  takeover, never two masters that both commit.
- **Fencing.** A master writes by :func:`fenced` with its epoch, which leaves alone a record where
  another epoch is in force. A paused master that wakes up after a takeover can therefore compute
  and send what it likes: nothing that it commits is accepted. The same rule holds outside of
  records: every message of a master carries its epoch, and who receives one with a lower epoch than
  it has seen refuses it.
- **Other records of the same job** (the shards of its ledger) are fenced by the same epoch: before
  a new master reads a shard, it *seals* it by :func:`sealed`, which writes its epoch there. What
  it reads then is final: no older master writes to the shard any more.

After ``Undecided``, read: the record then names the master, and if it is this one, it is master.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages.base import NOT_DECODABLE
from map_reduce.errors import ProtocolError

ValueChange = Callable[[bytes | None], bytes | None]


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """A record's value, where it has a master. Epoch 0 is before the first master."""

    epoch: int = 0
    master: Member | None = None
    until_hint_s: float = 0.0  # by the master's clock; for liveness only
    payload: bytes = b""

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, value: bytes | None) -> Lease:
        """The lease in a record's value; the empty one where nothing was written yet.

        Raises:
            ProtocolError: the value is no lease.
        """
        if value is None:
            return cls()
        try:
            return msgspec.msgpack.decode(value, type=cls)
        except NOT_DECODABLE as error:
            raise ProtocolError(f"a lease cannot be read from a record: {error}") from error


def taken_over(seen_epoch: int, me: Member, until_hint_s: float) -> ValueChange:
    """Become the master of epoch ``seen_epoch + 1``, unless the epoch is another by now."""

    def change(value: bytes | None) -> bytes | None:
        lease = Lease.decode(value)
        if lease.epoch != seen_epoch:
            return None
        return Lease(seen_epoch + 1, me, until_hint_s, lease.payload).encode()

    return change


def fenced(
    epoch: int, payload: Callable[[bytes], bytes], until_hint_s: float | None = None
) -> ValueChange:
    """Replace the payload, and renew the lease, as long as ``epoch`` is in force."""

    def change(value: bytes | None) -> bytes | None:
        lease = Lease.decode(value)
        if lease.epoch != epoch:
            return None
        until_s = lease.until_hint_s if until_hint_s is None else until_hint_s
        return Lease(epoch, lease.master, until_s, payload(lease.payload)).encode()

    return change


def sealed(epoch: int, me: Member) -> ValueChange:
    """Fence off all masters before ``epoch`` from a further record of the job."""

    def change(value: bytes | None) -> bytes | None:
        lease = Lease.decode(value)
        if lease.epoch >= epoch:
            return None
        return Lease(epoch, me, 0.0, lease.payload).encode()

    return change


def owned(epoch: int, me: Member, payload: bytes) -> ValueChange:
    """Replace the payload of a further record of the job, unless a later master has sealed it.

    Only by a master that has read what was there: it sealed the record, or is the first one.
    """

    def change(value: bytes | None) -> bytes | None:
        lease = Lease.decode(value)
        if lease.epoch > epoch:
            return None
        return Lease(epoch, me, 0.0, payload).encode()

    return change


def resigned(epoch: int, me: Member) -> ValueChange:
    """Give up the lease: nobody need wait until it has run out."""

    def change(value: bytes | None) -> bytes | None:
        lease = Lease.decode(value)
        if (lease.epoch, lease.master) != (epoch, me):
            return None
        return Lease(epoch, None, 0.0, lease.payload).encode()

    return change


def remarked(payload: Callable[[bytes], bytes | None]) -> ValueChange:
    """Change the payload on nobody's behalf, whoever is master; None leaves it.

    For what any member of the cluster may say, such as that a job is to be cancelled. The master
    has to keep it when it writes its own.
    """

    def change(value: bytes | None) -> bytes | None:
        lease = Lease.decode(value)
        new = payload(lease.payload)
        if new is None:
            return None
        return Lease(lease.epoch, lease.master, lease.until_hint_s, new).encode()

    return change
