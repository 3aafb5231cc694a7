"""What can go wrong, told apart by whose doing it is.

    MapReduceError
    ├── UserCodeError              your map, reduce or combine
    │   ├── MapError                   raised in map; names file and record
    │   ├── ReduceError                raised in reduce; names the key
    │   ├── CombineError               raised in combine; names the key
    │   ├── BadPairError               map gave something that is not (key, value) pairs
    │   ├── BadKeyError                a key that cannot be grouped by
    │   ├── BadRecordsError            more bad records than may be left out
    │   ├── CounterError               a counter's name or amount, or too many counters
    │   ├── FunctionError              not callable, or does not travel to another process
    │   ├── TaskTimeoutError           a task ran past its time
    │   └── WorkerDiedError            a task ended its worker process
    ├── InputError                 your input
    │   ├── InputMissingError          no such file, or the pattern matches none
    │   ├── InputUnreadableError       a directory, no permission, a broken archive
    │   ├── InputChangedError          the file was written to while the job read it
    │   ├── InputEncodingError         bytes that are not text in the named encoding
    │   └── InputTypeError             neither items, nor a mapping, nor files
    ├── OutputError                where results are to go, or what they are to be written as
    ├── ConfigError                a setting, a flag, an address: names which
    │   └── PortTakenError             somebody else listens there
    ├── JobError                   the job, by nobody's mistake
    │   ├── JobCancelledError
    │   ├── JobLostError               its master is gone, or never heard of it
    │   └── JobTimeoutError            await_results(timeout_s=...) ran out; the job goes on
    └── ClusterError               a peer or the ring
        ├── NoNodeError                nobody answers at the given address
        ├── Unreachable                no answer in time: it may or may not have been done
        │   ├── NotListening               no process listens at the address: it was not done
        │   ├── NotTrusted                 one of the two ends did not prove that it belongs here
        │   └── Undecided                  a record was perhaps changed: read it before you retry
        ├── Refused                    the peer answered that it won't; names its reason
        ├── ProtocolError              the peer sent what no peer of ours sends
        ├── BlockMissingError          no live node holds a copy of a block
        └── BlockCorruptError          bytes that do not match their digest

Inner code raises exactly one of these; the client raises them as they are. An exception of
user code is raised as an object of both worlds: ``except MapError`` and
``except ZeroDivisionError`` catch the same one (see :func:`with_type_of`).
"""

from __future__ import annotations

from typing import Any, TypeVar


class MapReduceError(Exception):
    """The root of everything this library raises on purpose."""


class UserCodeError(MapReduceError):
    """User code failed. ``original`` is its exception, where that could be brought back."""

    original: BaseException | None = None


class MapError(UserCodeError):
    """The map function raised; the text names input, record, node and attempt."""


class ReduceError(UserCodeError):
    """The reduce function raised; the text names key, node and attempt."""


class CombineError(UserCodeError):
    """The combine function raised; the text names key, node and attempt."""


class BadPairError(UserCodeError):
    """The map function returned something that is not an iterable of (key, value) pairs."""


class BadKeyError(UserCodeError):
    """A key is unhashable, or its hash is its identity, so that equal keys could not meet."""


class BadRecordsError(UserCodeError):
    """More records or keys could not be processed than ``on_bad_record`` allows; names some."""


class CounterError(UserCodeError):
    """A counter's name or amount cannot be used, or the job has too many counters."""


class FunctionError(UserCodeError):
    """A function is not callable, does not pickle, or does not unpickle on a node."""


class TaskTimeoutError(UserCodeError):
    """A task ran longer than the job's ``timeout_s``, or MAX_TASK_TIMEOUT, and was ended; twice."""


class WorkerDiedError(UserCodeError):
    """A task ended its worker process (os._exit, a crash, out of memory) on every attempt."""


class InputError(MapReduceError):
    """The input cannot be read as asked."""


class InputMissingError(InputError):
    """No such file, or a pattern that matches none."""


class InputUnreadableError(InputError):
    """A directory, a file without read permission, a damaged archive."""


class InputChangedError(InputError):
    """A file's size or time changed between submission and reading."""


class InputEncodingError(InputError):
    """Bytes that are not valid in the encoding; the text names file, offset and what to pass."""


class InputTypeError(InputError):
    """The input is neither items, nor a mapping, nor files."""


class OutputError(MapReduceError):
    """Results cannot be saved there, or one of them cannot be written in that format."""


class ConfigError(MapReduceError):
    """A setting, flag or address is wrong; the text names it and what it may be."""


class PortTakenError(ConfigError):
    """The address to listen on is in use."""


class JobError(MapReduceError):
    """A job did not end with results, and no user code is to blame."""


class JobCancelledError(JobError):
    """The job was cancelled."""


class JobLostError(JobError):
    """No node knows the job any more."""


class JobTimeoutError(JobError):
    """The caller's own deadline passed; the job goes on."""


class ClusterError(MapReduceError):
    """A peer, or the ring as a whole."""


class NoNodeError(ClusterError):
    """No node answers at the address."""


class Unreachable(ClusterError):
    """No reply within the deadline. The request may or may not have been carried out."""


class NotListening(Unreachable):
    """The connection was refused: no process listens at the address. Nothing was carried out."""


class NotTrusted(Unreachable):
    """One end of the connection did not prove to the other that it belongs to the cluster.

    Nothing was asked. The text says what is wrong with which proof, and what to do.
    """


class Undecided(Unreachable):
    """A change was sent to a record's members, and it is not known whether it takes effect."""


class Refused(ClusterError):
    """The peer answered, and its answer was no."""


class ProtocolError(ClusterError):
    """The peer sent bytes or a reply that the protocol does not allow."""


class BlockMissingError(ClusterError):
    """No reachable node holds a copy of the block."""


class BlockCorruptError(ClusterError):
    """A block's bytes do not match its digest."""


def shortened(text: str, length_max: int = 60) -> str:
    """``text``, cut to at most ``length_max`` characters: what messages quote may be long."""
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


Culprit = TypeVar("Culprit", bound=UserCodeError)


def with_type_of(kind: type[Culprit], message: str, original: BaseException | None) -> Culprit:
    """A ``kind`` that is also caught as the type of the user's ``original`` exception.

    Where Python does not allow the combination (two built-in layouts), a plain ``kind``.
    ``original`` is kept as attribute and as ``__cause__``.
    """
    if original is None:
        return kind(message)

    def text(self: BaseException) -> str:
        return message

    members = {"__module__": kind.__module__, "__str__": text}
    try:
        both: Any = type(kind.__name__, (kind, type(original)), members)
        error: Culprit = both.__new__(both, message)
    except TypeError:
        error = kind(message)
    error.original = original
    error.__cause__ = original
    return error
