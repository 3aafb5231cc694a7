"""Who must agree: a majority of *each* configuration, not of all replicas taken together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from map_reduce.core.messages.records import Config, Replica


def is_quorum(agreeing: Collection[Replica], configs: Iterable[Config]) -> bool:
    """Whether they are more than half of every configuration."""
    return all(
        2 * sum(replica in agreeing for replica in config) > len(config) for config in configs
    )


def may_become_quorum(refusing: Collection[Replica], configs: Iterable[Config]) -> bool:
    """Whether, without those that refused, the others could still be a quorum."""
    return all(
        2 * sum(replica not in refusing for replica in config) > len(config) for config in configs
    )


def members_of(configs: Iterable[Config]) -> tuple[Replica, ...]:
    """All replicas of some configurations, each once, in order of appearance."""
    return tuple(dict.fromkeys(replica for config in configs for replica in config))


def next_config(
    current: Config, gone: Collection[Replica], candidates: Sequence[Replica], size: int
) -> Config:
    """The members that should take over from ``current``.

    Those that are not gone stay, in their order; candidates (say, the live replicas from the
    record's place on the ring on) fill up to ``size``. Where nobody new can be had, the gone ones
    stay too: a record is not made smaller because nodes died, for a smaller majority would be
    easier to lose next time. Equal to ``current`` where nothing is to be done.
    """
    staying = [replica for replica in current if replica not in gone]
    fresh = [c for c in candidates if c not in current and c not in gone]
    chosen = (staying + fresh)[:size]
    kept = [replica for replica in current if replica in gone]
    chosen += kept[: max(0, min(size, len(current)) - len(chosen))]
    return current if set(chosen) == set(current) else tuple(chosen)
