"""Records on disk: a replica that is the same after a restart.

A journal (``journal.py``) to which each change is appended. Many requests may wait for the disk at
once: one of them synchronises it for all that have come so far, then the next for all that came
meanwhile (group commit). When the journal has grown to several times what it says, it is written
anew under another name, synchronised, and given its name; so it is at each start, too, which
cuts a torn tail off and puts the new incarnation down before anybody hears of it.

A damaged journal is moved aside, with a line in the log, and the replica begins again with nothing
and under **a new identity**: what it had promised is not known, so it must not answer as if it
were. For the records that it was a member of it is gone, and the others replace it. A missing
journal comes to the same.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from map_reduce.core.registers.acceptor import Held
from map_reduce.errors import ConfigError
from map_reduce.storage.folder import File, Folder, OsFolder
from map_reduce.storage.journal import (
    ENTRIES_AT,
    MARK_AT,
    DamagedJournal,
    Header,
    Journal,
    decode,
    encode_entry,
    encode_mark,
    encode_start,
)
from map_reduce.storage.memory_records import new_identity

log = logging.getLogger(__name__)

JOURNAL = "journal"
NEW = "journal.new"
SET_ASIDE = "journal.damaged"

GROWN = 4
"""A journal of so many times what it says is written anew,"""
GROWN_BYTES_MIN = 1 << 20
"""but not one that is smaller."""


def open_records(path: Path) -> DiskRecordStore:
    """The store in a folder of the operating system.

    Raises:
        ConfigError: the folder can't be made, read or written to, or another node has it.
    """
    try:
        return DiskRecordStore(OsFolder(path))
    except OSError as error:
        raise ConfigError(f"cannot keep records in {path}: {error.strerror}") from error


class DiskRecordStore:
    """A RecordStore over a folder of its own.

    Args:
        now_ns: what an incarnation is made of. It is larger than the one before, whatever the
            clock says, as long as the journal is not lost.
    """

    waits_for_disk = True

    def __init__(self, folder: Folder, *, now_ns: int | None = None) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._failure: OSError | None = None
        self._syncing = False
        self._appended = self._synced = 0  # appends
        self._sizes: dict[str, int] = {}
        try:
            found = self._find()
            before = Header(new_identity(), 0) if found is None else found.header
            incarnation = max(before.incarnation + 1, now_ns or time.time_ns())
            self._header = Header(before.identity, incarnation)
            self._held = {one.name: one for one in found.held} if found else {}
            self._file = self._write_anew()
        except BaseException:
            folder.close()
            raise

    @property
    def identity(self) -> int:
        return self._header.identity

    @property
    def incarnation(self) -> int:
        """Of the node, in this life."""
        return self._header.incarnation

    def held(self) -> tuple[Held, ...]:
        with self._changed:
            return tuple(self._held.values())

    def append(self, held: Held) -> int:
        data = encode_entry(held)
        with self._changed:
            self._check()
            try:
                self._file.append(data)
                self._held.pop(held.name, None)
                self._live_bytes -= self._sizes.pop(held.name, 0)
                if not held.is_nothing:
                    self._held[held.name] = held
                    self._live_bytes += len(data)
                    self._sizes[held.name] = len(data)
                self._size_bytes += len(data)
                self._appended += 1
                if self._size_bytes > max(GROWN_BYTES_MIN, GROWN * self._live_bytes):
                    self._compact()
            except OSError as error:
                self._failure = error
                self._changed.notify_all()
                raise
            return self._appended

    def sync(self, place: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: not self._syncing or self._synced >= place or self._failure is not None
            )
            if self._synced >= place:
                return
            self._check()
            self._syncing = True
            file, appended, size_bytes = self._file, self._appended, self._size_bytes
        synced = failure = None
        try:  # without the lock: others append meanwhile, and wait for the next one
            file.sync()
            file.overwrite(MARK_AT, encode_mark(size_bytes))
            synced = appended
        except OSError as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._syncing = False
                self._synced = synced or self._synced
                self._failure = self._failure or failure
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._failure = self._failure or OSError("the store of records was closed")
            self._changed.wait_for(lambda: not self._syncing)
            self._file.close()
            self._folder.close()

    # ------------------------------------------------------------------ with the lock

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(*self._failure.args) from self._failure

    def _compact(self) -> None:
        self._changed.wait_for(lambda: not self._syncing)
        self._check()
        old, self._file = self._file, self._write_anew()
        old.close()
        self._synced = self._appended
        self._changed.notify_all()

    # ------------------------------------------------------------------ the file as a whole

    def _find(self) -> Journal | None:
        """What is there; None where nothing is, or it had to be set aside."""
        data = self._folder.read(JOURNAL)
        if data is None:
            return None
        try:
            journal = decode(data)
        except DamagedJournal as damage:
            self._folder.rename(JOURNAL, SET_ASIDE)
            self._folder.sync()
            log.error(
                "the records in %s are damaged: %s; they were moved to %s, and this node begins "
                "anew, as another replica",
                self._folder,
                damage,
                SET_ASIDE,
            )
            return None
        except ConfigError as error:
            raise ConfigError(f"cannot read the records in {self._folder}: {error}") from error
        if journal.cut_bytes:
            log.info(
                "the last %d bytes of the records in %s had not been written completely",
                journal.cut_bytes,
                self._folder,
            )
        return journal

    def _write_anew(self) -> File:
        """A journal of what is held and nothing else, on disk and with its name."""
        entries = {name: encode_entry(held) for name, held in self._held.items()}
        size_bytes = ENTRIES_AT + sum(map(len, entries.values()))
        file = self._folder.create(NEW)
        try:
            file.append(encode_start(self._header))
            for entry in entries.values():
                file.append(entry)
            file.overwrite(MARK_AT, encode_mark(size_bytes))
            file.sync()
            self._folder.rename(NEW, JOURNAL)
            self._folder.sync()
        except BaseException:
            file.close()
            raise
        self._sizes = {name: len(entry) for name, entry in entries.items()}
        self._size_bytes, self._live_bytes = size_bytes, sum(self._sizes.values())
        return file
