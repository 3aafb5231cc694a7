"""What a job has cost, for people and for programs: the closing line, and its figures."""

from __future__ import annotations

import msgspec

from map_reduce.core.messages import Figures, Progress

WATCHED_S_MIN = 0.5
"""Of less than ten looks at the workers no share is told: it would be a guess."""


class JobReport(msgspec.Struct, frozen=True):
    """What a job has cost. Of the attempts whose outputs count, unless it says otherwise.

    Attributes:
        time_s: from the submission to the end, as this client saw it; where it was not there all
            the time, from when the job's last master began.
        cpu_s: processor time of the worker processes, with what they do besides calling your
            functions: reading, grouping, pickling.
        speed_up: ``cpu_s / time_s``: how many cores' worth of work was done at a time. It is no
            comparison with another program: one that does less besides is faster on one core.
        user_code_share: the part of the time of the worker processes in which they were in your
            functions, or in what these call, from looks at them 20 times a second; None where
            they were looked at too seldom to tell. Built-in functions that you pass as they are
            (``map=zip``) cannot be seen and count as ours.
        read_bytes: of the input, by map tasks.
        shuffled_bytes: from map tasks to reduce tasks, between processes or nodes.
        spilled_bytes: written to disk by tasks whose data did not fit in their memory.
        stored_bytes: blocks of input, functions and results in the ring, each counted once.
        replicated_bytes: what the further copies of these take.
        tasks: map and reduce tasks.
        attempts, repeated: begun by the job's last master, and those of them that were not the
            first at their task: it had failed, was lost, lagged behind, or was made again.
        masters: how many the job has had.
    """

    job_id: str
    name: str
    phase: str
    time_s: float
    cpu_s: float
    speed_up: float
    user_code_share: float | None
    read_bytes: int
    shuffled_bytes: int
    spilled_bytes: int
    stored_bytes: int
    replicated_bytes: int
    tasks: int
    attempts: int
    repeated: int
    masters: int

    @classmethod
    def of(
        cls,
        job_id: str,
        name: str,
        progress: Progress,
        figures: Figures,
        *,
        masters: int,
        replicas: int,
        time_s: float | None = None,
    ) -> JobReport:
        """``replicas`` is how many copies of a block the cluster keeps, where it has the nodes."""
        time_s = progress.elapsed_s if time_s is None else time_s
        copies = min(replicas, figures.nodes)
        return cls(
            job_id=job_id,
            name=name,
            phase=progress.phase,
            time_s=time_s,
            cpu_s=figures.cpu_s,
            speed_up=figures.cpu_s / time_s if time_s > 0 else 0.0,
            user_code_share=user_code_share(figures),
            read_bytes=figures.input_bytes,
            shuffled_bytes=figures.shuffled_bytes,
            spilled_bytes=figures.spilled_bytes,
            stored_bytes=figures.stored_bytes,
            replicated_bytes=figures.stored_bytes * max(0, copies - 1),
            tasks=progress.map_tasks_total + progress.reduce_tasks_total,
            attempts=figures.attempts,
            repeated=figures.repeated,
            masters=masters,
        )

    def __str__(self) -> str:
        """The closing line."""
        share = self.user_code_share
        seen = "too short to see how much of it in your functions"
        if share is not None:
            seen = f"{share:.0%} of their time in your functions"
        bytes_ = ", ".join(
            f"{what} {size_text(size)}"
            for what, size in (
                ("read", self.read_bytes),
                ("shuffled", self.shuffled_bytes),
                ("spilled", self.spilled_bytes),
                ("replicated", self.replicated_bytes),
            )
        )
        repeated = f"{self.repeated:,} repeated" if self.repeated else "none repeated"
        masters = f"; {self.masters} masters, attempts are the last one's"
        return (
            f"{self.name}: {self.phase} in {time_text(self.time_s)}, {self.speed_up:.2f} × one "
            f"core ({time_text(self.cpu_s)} of processor time in its tasks, {seen}); {bytes_}; "
            f"{self.attempts:,} attempts at {self.tasks:,} tasks, {repeated}"
            f"{masters if self.masters > 1 else ''}"
        )


def user_code_share(figures: Figures) -> float | None:
    """None where it cannot be told."""
    if figures.watched_s < WATCHED_S_MIN:
        return None
    return figures.in_user_code_s / figures.watched_s


def size_text(size_bytes: float) -> str:
    """Three digits and a unit, decimal."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.3g} TB"


def time_text(time_s: float) -> str:
    """Milliseconds below one second, whole seconds from a hundred on."""
    if time_s < 0.9995:
        return f"{time_s * 1000:.3g} ms"
    return f"{time_s:.3g} s" if time_s < 99.95 else f"{time_s:,.0f} s"
