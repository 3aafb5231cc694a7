"""What went wrong, in words for the person who wrote the job.

User code may raise anything, anywhere, so the inner code wraps what comes out of it in one
exception, :class:`Stopped`, which says whose fault it is and at which record or key. The one
boundary, ``attempt.run_attempt``, makes the :class:`~map_reduce.core.messages.Failure` of it::

    ZeroDivisionError: division by zero
      in map, at line 17 of /data/a.txt (counted from 0): 'a,b,c…'
      on node 127.0.0.1:9000, map task 3, attempt 1
      File "job.py", line 12, in map
        return 1 / 0

Only the user's frames are shown, and the libraries' that they call; the source lines where the
file can be found on the node.
"""

from __future__ import annotations

import linecache
import os
import pickle
import reprlib
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import cloudpickle

import map_reduce
from map_reduce.core.messages import AttemptId, BadRecord, Failed, Failure, Suspect
from map_reduce.errors import CombineError, CounterError, MapReduceError, shortened
from map_reduce.pickling import dumps

RECORD_CHARACTERS_MAX = 200
WHERE_CHARACTERS_MAX = 300
ERROR_CHARACTERS_MAX = 500
FRAMES_MAX = 12
EXCEPTION_BYTES_MAX = 1 << 20
"""A pickled exception of more bytes stays behind; its text goes on."""

PASSING = (OSError, MemoryError)
"""What user code may raise by no fault of the record: a connection is lost, a disk is full, memory
has run out. Also where it is the cause of another exception."""

LASTING = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""Those of :data:`PASSING` that are about a name, and would be the same again."""

CERTAIN = (NameError, SyntaxError, CounterError)

_MESSAGE_CHARACTERS_MAX = 4000
_CAUSES_MAX = 3
_MACHINERY = (
    os.path.join(os.path.dirname(map_reduce.__file__), ""),
    os.path.join(os.path.dirname(cloudpickle.__file__), ""),
    pickle.__file__,
)


class Spot(NamedTuple):
    """A record or a key, for finding it again: see ``messages.Suspect``."""

    phase: str
    position: int
    where: str
    record: str


class Stopped(Exception):
    """User code, or what it gave, ends the attempt.

    Args:
        kind: whose fault it is.
        where: "in map, at line 17 of /data/a.txt: 'a,b,c…'", or "".
        headline: what happened; by default what ``original`` says.
        original: what user code raised, if it did.
        spot: the record or key that it is about, where it is about one.
        unpicklable: what it gave for some record or key does not pickle.
    """

    def __init__(
        self,
        kind: type[MapReduceError],
        where: str,
        headline: str = "",
        original: BaseException | None = None,
        *,
        spot: Spot | None = None,
        unpicklable: bool = False,
    ) -> None:
        super().__init__(kind, where, headline, original)
        self.kind = kind
        self.where = where
        self.headline = headline
        self.original = original
        self.spot = spot
        self.unpicklable = unpicklable

    @property
    def may_pass(self) -> bool:
        """Whether it may be the fault of the place and the time, and not of the record."""
        return any(_may_pass(error) for error in _chain(self.original))

    @property
    def is_certain(self) -> bool:
        """Whether it would surely be the same again, so that there is no need to try.

        That is so for what we find wrong with what user code gave, for names that are not
        defined, and for exceptions that end programs.
        """
        error = self.original
        return bool(self.headline) or not isinstance(error, Exception) or isinstance(error, CERTAIN)

    @property
    def is_about_the_job(self) -> bool:
        """Whether leaving out a record or key would not help."""
        if isinstance(self.original, CounterError):
            return True
        return self.spot is None and not self.unpicklable and self.kind is not CombineError

    def bad_record(self) -> BadRecord:
        """As what is kept of a record that is left out."""
        spot = self.spot or Spot("", -1, self.where, "")
        error = shortened(self.headline or said(self.original), ERROR_CHARACTERS_MAX)
        where = shortened(spot.where, WHERE_CHARACTERS_MAX)
        return BadRecord(sendable(where), sendable(spot.record), sendable(error))

    def failed(self, attempt: AttemptId, node: str, advice: str = "") -> Failed:
        """As the outcome of the attempt."""
        suspect = None
        if self.spot is not None:
            cause = "" if self.may_pass else type(self.original).__qualname__
            suspect = Suspect(self.spot.phase, self.spot.position, self.bad_record(), cause)
        failure = self.failure(attempt, node, advice)
        return Failed(failure, retry=self.may_pass or not self.is_certain, suspect=suspect)

    def failure(self, attempt: AttemptId, node: str, advice: str = "") -> Failure:
        """As data, complete for people."""
        error = self.original
        lines = [self.headline or said(error)]
        if self.where:
            lines.append(f"  {self.where}")
        lines.append(f"  {on(node, attempt)}")
        lines += [f"  {advice}"] if advice else []
        if error is not None:
            lines += _frames(error.__traceback__)
            lines += _causes(error)
        shipped = b"" if error is None else _pickled(error)
        return Failure(self.kind.__name__, sendable("\n".join(lines)), shipped)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, PASSING) and not isinstance(error, LASTING)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """It, what it was raised from or while handling, and so on."""
    for _ in range(_CAUSES_MAX + 1):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def failure_of(error: MapReduceError, attempt: AttemptId, node: str) -> Failure:
    """One of our own errors as data."""
    return Failure(type(error).__name__, sendable(f"{error}\n  {on(node, attempt)}"))


def on(node: str, attempt: AttemptId) -> str:
    return f"on node {node}, {attempt}"


def said(error: BaseException | None) -> str:
    """``ValueError: its text``, as at the end of a traceback; whatever its ``__str__`` does."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001  a user's __str__ may raise anything
        text = f"(its text is not to be had: __str__ raised {type(broken).__name__})"
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        text = "\n".join([text, *(note for note in notes if isinstance(note, str))])
    return shortened(f"{name}: {text}" if text else name, _MESSAGE_CHARACTERS_MAX)


def shown(value: Any) -> str:
    """The repr of a record, a key or a value, cut; whatever its ``__repr__`` does."""
    if type(value) in (str, bytes):
        long = len(value) > RECORD_CHARACTERS_MAX
        return repr(value[:RECORD_CHARACTERS_MAX]) + ("…" if long else "")
    return shortened(_Repr().repr(value), RECORD_CHARACTERS_MAX)


def sendable(text: str) -> str:
    """Without lone surrogates, as in file names that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Repr(reprlib.Repr):
    """Looks at the first few elements of containers only, so that it is quick on large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 10
        self.maxstring = self.maxother = self.maxlong = RECORD_CHARACTERS_MAX


def frames_of(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    """Those that are not ours, outermost first, each with its line."""
    return [
        (frame, line)
        for frame, line in _walk(traceback)
        if not frame.f_code.co_filename.startswith(_MACHINERY)
    ]


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    told = frames_of(traceback)
    for index, (frame, line) in enumerate(told):
        if FRAMES_MAX // 2 <= index < len(told) - FRAMES_MAX // 2:
            if index == FRAMES_MAX // 2:
                yield f"  … {len(told) - FRAMES_MAX} more frames …"
            continue
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {line}, in {code.co_name}'
        source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
        if source:
            yield f"    {shortened(source, RECORD_CHARACTERS_MAX)}"


def _walk(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _causes(error: BaseException) -> Iterator[str]:
    seen = {id(error)}
    for _ in range(_CAUSES_MAX):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or id(cause) in seen:
            return
        seen.add(id(cause))
        yield f"  {'caused by' if error.__cause__ else 'while handling'} {said(cause)}"
        error = cause


def _pickled(error: BaseException) -> bytes:
    """The exception, where another process can have it; else nothing.

    Not those that end programs: raised in the client they would end it, silently.
    """
    if not isinstance(error, Exception):
        return b""
    try:
        data = dumps(error)
        if len(data) <= EXCEPTION_BYTES_MAX and type(pickle.loads(data)) is type(error):
            return data
    except Exception:  # noqa: BLE001  user classes decide what happens here; the text remains
        return b""
    return b""
