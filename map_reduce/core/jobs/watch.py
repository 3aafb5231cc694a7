"""When to take over a job from a master that is silent: what each holder decides for itself.

Every node that holds a job's specification watches the job's master. Theory of operation: ::

    the master answers ─▶ leave it in peace
    it is silent, or says that it is not the master
        └─▶ read the job's record
              it has changed since it was last read ─▶ somebody is at work: begin anew
              it has not, for as long as the lease  ─▶ take over

- The master renews its lease by writing the record, so a watcher that cannot reach it still sees
  from the record that it is at work. Two nodes that can't reach each other therefore don't take a
  job from one another again and again.
- A master answers only as long as it can write to the record: one that has lost touch with the
  record's members must not keep at bay those who have not.
- What a lease's time is worth: nothing but speed. A watcher counts the seconds by its own clock
  and from its own first look, and who takes over is decided by the compare-and-set of the epoch.
- Watchers are *staggered* by their rank, their place among the nodes that could take over as this
  watcher sees them, so that usually one tries and the others see its success. Two that try at once
  cost one of them a write in vain.
- A master that has resigned, or was restarted and does not know the job, is not waited for.
"""

from __future__ import annotations

from enum import Enum

from map_reduce.core.registers.lease import Lease

STAGGER_S = 0.3
"""Between the tries of two watchers: more than a takeover's first write usually takes."""


class Step(Enum):
    """What a watcher is to do about a job now."""

    REST = "rest"
    READ = "read"  # its record
    TAKE = "take"  # it over, from the epoch that was seen


class JobWatch:
    """One watcher's knowledge of one job.

    Args:
        lease_s: how long a silent master is left in peace.
        now_s: this watcher's own clock, monotonic.
    """

    def __init__(self, lease_s: float, now_s: float) -> None:
        self.lease = Lease()
        self._lease_s = lease_s
        self._version = 0  # of the record when it was last read
        self._changed_s = now_s  # when the record was last seen to be new, or the master heard
        self._read_s = now_s
        self._silent = False
        self._denied = False

    def heard(self, epoch: int, now_s: float) -> None:
        """The master that is believed in answers, and is master in that epoch."""
        if epoch >= self.lease.epoch:
            self._changed_s = now_s
            self._silent = self._denied = False

    def unheard(self, denied: bool) -> None:
        """It does not answer; or it answers and is not the master."""
        self._silent = True
        self._denied = self._denied or denied

    def read(self, lease: Lease, version: int, now_s: float) -> None:
        """The record says so."""
        self._read_s = now_s
        if version <= max(0, self._version):
            return  # nothing new; a record that was never written has version 0
        if (lease.epoch, lease.master) != (self.lease.epoch, self.lease.master):
            self._silent = self._denied = False  # another one: it is asked first
        self._version, self.lease, self._changed_s = version, lease, now_s

    def lost(self, lease: Lease, now_s: float) -> None:
        """This node tried to be master, or was it, and the record names another."""
        if lease.epoch >= self.lease.epoch:
            self.lease, self._changed_s = lease, now_s
            self._silent = self._denied = False

    def step(self, now_s: float, rank: int) -> Step:
        """What to do now. ``rank``: how many should come first."""
        if self.lease.master is not None and not self._silent:
            return Step.REST
        due_s = self._changed_s + rank * STAGGER_S
        if self.lease.epoch == 0 or (self.lease.master is not None and not self._denied):
            due_s += self._lease_s
        if now_s < due_s:
            seldom = now_s - self._read_s < self._lease_s / 3
            return Step.REST if seldom or not self._silent else Step.READ
        return Step.TAKE if self._read_s >= due_s else Step.READ
