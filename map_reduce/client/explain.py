"""How a job is cut and how evenly: estimated from a sample before it runs, measured after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from map_reduce.client.report import size_text, time_text, user_code_share
from map_reduce.client.sample import SampleInput
from map_reduce.core.messages import Figures, Spread
from map_reduce.core.scheduling.figures import spread
from map_reduce.core.scheduling.plan import partitions_for, reduce_tasks_max

HOT_PARTITION = 4.0
SHUFFLE_MUCH = 1.0
SLOW_TASK = 3.0


@dataclass(frozen=True)
class Sizes:
    """So many, together, the middle one, the largest: in bytes or in seconds."""

    count: int
    total: float
    median: float
    largest: float

    @classmethod
    def of(cls, spread: Spread, scale: float = 1.0) -> Sizes:
        """``scale``: each is so many times what was measured."""
        return cls(
            spread.count, scale * spread.total, scale * spread.median, scale * spread.largest
        )

    @property
    def skew(self) -> float:
        """The largest as a multiple of the mean: 1.0 where all are equal, 0.0 where none are."""
        return self.largest * self.count / self.total if self.total else 0.0


@dataclass(frozen=True)
class Explanation:
    """How a job is cut, what it moves, and how evenly. ``print`` it, or read its attributes.

    Attributes:
        kind: ``estimated`` from a sample; ``so far``; ``measured``, once the job is done.
        sample: what was taken, in words; "" unless estimated.
        input_bytes: what map tasks read.
        splits: their bytes.
        map_tasks: wall time of each.
        partitions: bytes that all map tasks together write for each.
        reduce_tasks: bytes that each reads; each has one partition or several neighbouring ones.
        reduce_times: wall time of each.
        reduce_tasks_max: how many there may be.
        shuffled_bytes: from map to reduce tasks. An estimate grows in proportion to the input, so
            with a combiner, or with few keys, it is an upper bound.
        cpu_s: processor time of the worker processes. Estimated in proportion, too.
        slots: worker processes there are.
        user_code_share: see :class:`~map_reduce.client.report.JobReport`.
        advice: what may be worth changing.
    """

    kind: str
    sample: str
    input_bytes: int
    splits: Sizes
    map_tasks: Sizes
    partitions: Sizes
    reduce_tasks: Sizes
    reduce_times: Sizes
    reduce_tasks_max: int
    shuffled_bytes: int
    cpu_s: float
    slots: int
    user_code_share: float | None
    advice: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        estimated = self.kind == "estimated"
        one = self.splits.count <= 1
        most, about = ("at most ", "about ") if estimated else ("", "")
        maps = self.splits.count if estimated else self.map_tasks.count
        rows = [
            ("input", size_text(self.input_bytes), _even(self.splits, "split")),
            ("map", _count(maps, "task"), _even(self.map_tasks, "", time_text)),
        ]
        if estimated:
            rows[-1] = ("map", _count(maps, "task"), "")
        if one:
            rows.append(("shuffle", "none", "one task maps and reduces"))
        else:
            shuffled = f"{most}{size_text(self.shuffled_bytes)}"
            rows.append(("shuffle", shuffled, _even(self.partitions, "partition")))
        if estimated and not one:
            rows.append(("reduce", f"{most}{_count(self.reduce_tasks_max, 'task')}", ""))
        elif not one:
            tasks = _count(self.reduce_tasks.count, "task")
            rows.append(("reduce", tasks, _even(self.reduce_tasks, "")))
            rows.append(("", "", _even(self.reduce_times, "", time_text)))
        share = self.user_code_share
        told = "" if share is None else f"{share:.0%} of the workers' time in your functions"
        rows.append(("time", f"{about}{time_text(self.cpu_s)} of processor time", told))
        if estimated and self.slots:
            alone = f"about {time_text(self.cpu_s / self.slots)} on {_count(self.slots, 'slot')}"
            rows.append(("", alone, "where nothing else runs"))
        lines = [f"{self.kind}{f' from {self.sample}' if self.sample else ''}:"]
        lines += [f"  {name:<8} {what:<30} {how}".rstrip() for name, what, how in rows]
        lines += [f"  ! {line}" for line in self.advice]
        return "\n".join(lines)


def measured(figures: Figures, phase: str, *, combines: bool | None) -> Explanation:
    """What a job's figures say. ``combines``: whether it has a combiner, where that is known."""
    return _explained(
        "measured" if phase == "done" else "so far",
        "",
        figures,
        splits=Sizes.of(figures.split_bytes),
        input_bytes=figures.input_bytes,
        scale=1.0,
        partitions=figures.partition_bytes.count or figures.partitions,
        combines=combines,
    )


def estimated(figures: Figures, sample: SampleInput, *, combines: bool) -> Explanation:
    """What the figures of a job over a sample say of one over all of the input."""
    splits = spread(sample.split_bytes)
    total = int(splits.total)
    return _explained(
        "estimated",
        sample.text,
        figures,
        splits=Sizes.of(splits),
        input_bytes=total,
        scale=sample.scale,
        partitions=partitions_for(splits.count, figures.slots, total),
        combines=combines,
    )


def _explained(
    kind: str,
    sample: str,
    figures: Figures,
    *,
    splits: Sizes,
    input_bytes: int,
    scale: float,
    partitions: int,
    combines: bool | None,
) -> Explanation:
    shuffled = round(scale * figures.shuffled_bytes)
    parts = Sizes.of(figures.partition_bytes, scale)
    if parts.count != partitions and parts.count:  # of the sample there may be fewer
        ratio = parts.count / partitions
        parts = Sizes(partitions, parts.total, parts.median * ratio, parts.largest)
    one_task = splits.count <= 1
    reduces = 0 if one_task else reduce_tasks_max(shuffled, max(1, figures.slots))
    explanation = Explanation(
        kind=kind,
        sample=sample,
        input_bytes=input_bytes,
        splits=splits,
        map_tasks=Sizes.of(figures.map_s),
        partitions=parts,
        reduce_tasks=Sizes.of(figures.reduce_bytes),
        reduce_times=Sizes.of(figures.reduce_s),
        reduce_tasks_max=reduces,
        shuffled_bytes=shuffled,
        cpu_s=scale * figures.cpu_s,
        slots=figures.slots,
        user_code_share=user_code_share(figures),
        advice=(),
    )
    return dataclasses.replace(explanation, advice=tuple(_advice(explanation, combines)))


def _advice(of: Explanation, combines: bool | None) -> list[str]:
    advice = []
    if of.partitions.skew > HOT_PARTITION and of.partitions.largest > 1 << 20:
        share = of.partitions.largest / of.partitions.total
        advice.append(
            f"one partition has {share:.0%} of what is shuffled: a key has far more values than "
            "others, and one reduce task gets them all"
            + ("" if combines else "; a combiner, where it is right, makes it small")
        )
    if combines is False and of.input_bytes and of.shuffled_bytes > SHUFFLE_MUCH * of.input_bytes:
        advice.append(
            "more is shuffled than read: pass combine= if reducing reduced parts gives the same "
            "as reducing everything"
        )
    if of.kind != "estimated" and of.map_tasks.count > 2 and of.map_tasks.skew > SLOW_TASK:
        advice.append(
            f"one map task took {time_text(of.map_tasks.largest)}, the middle one "
            f"{time_text(of.map_tasks.median)}"
        )
    if of.splits.count < of.slots and of.input_bytes > 1 << 20:
        advice.append(
            f"there are {of.slots} slots and {_count(of.splits.count, 'split')}: a compressed "
            "file is one split, several files are several"
        )
    return advice


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _even(sizes: Sizes, what: str, text: Callable[[float], str] = size_text) -> str:
    """How even they are; ``what`` they are, where that is not said before."""
    if not sizes.count:
        return ""
    if sizes.count == 1:
        return f"{f'one {what} of ' if what else ''}{text(sizes.total)}"
    return (
        f"{_count(sizes.count, what) + ' of ' if what else ''}{text(sizes.median)} (median), "
        f"{text(sizes.largest)} (largest, {sizes.skew:.1f} × mean)"
    )
