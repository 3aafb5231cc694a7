"""Where the worker processes of a pool come from: forks of a template, or fresh interpreters.

A fork is a hundred times cheaper, so that is what a worker is wherever it can be as good as fresh:
while the environment, the import path, the working folder, standard output and standard error are
those that the template was started with. Where one of them has changed (a script may set a variable
between two jobs), another template is started, and the former ends with its last worker.

A template that ends before it has forked anything, or says that it has other threads (a library
that starts some as soon as it is imported, from a ``.pth`` file say), cannot be had here: from then
on each worker of this pool is an interpreter of its own.
"""

from __future__ import annotations

import contextlib
import logging
import threading

from map_reduce.workers.exits import exit_in_words
from map_reduce.workers.launch import Interpreter, Launch, Process
from map_reduce.workers.template import HAS_TEMPLATES, Forked, Template

_log = logging.getLogger(__name__)


class Births:
    """Starts worker processes, and lets go of them. Safe to use from many threads."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._lock = threading.Lock()
        self._template: Template | None = None  # that the next worker is forked from
        self._former: set[Template] = set()  # that have workers still
        self._possible = HAS_TEMPLATES

    def prepare(self) -> None:
        """Have the template started, since workers will be wanted soon."""
        with self._lock, contextlib.suppress(OSError):  # told when a worker is wanted
            self._usable()

    def start(self, connection: int, lifeline: int, errors: int) -> Process:
        """A process that runs ``workers/process.py`` with these descriptors.

        Raises:
            OSError: it cannot be started.
        """
        with self._lock:
            if (template := self._usable()) is not None:
                with contextlib.suppress(OSError):  # it ends just now, or is flooded
                    forked = template.fork(connection, lifeline, errors)
                    template.users += 1
                    return forked
        return Interpreter(self.launch, connection, lifeline, errors)

    def let_go(self, process: Process) -> None:
        """It has ended, or nobody waits for its end."""
        if isinstance(process, Forked):
            template, overdue = process.template, process.is_overdue
            with self._lock:
                template.users -= 1
                if overdue and template is self._template:  # it is suspended, say
                    self._retire(template)
                elif template in self._former and not template.users:
                    self._former.discard(template)
                    template.end()
        process.close()

    def close(self) -> None:
        """End the templates; all workers have been let go of."""
        with self._lock:
            self._possible = False
            for template in (self._template, *self._former):
                if template is not None:
                    template.end()
            self._template = None
            self._former.clear()

    def disown(self) -> None:
        """In a forked copy of this process, where another thread may have held the lock."""
        for template in (self._template, *self._former):
            if template is not None:
                template.disown()

    def _usable(self) -> Template | None:
        """The template to fork from, or None where there can be none. With the lock held."""
        template = self._template
        if template is not None and (status := template.status) is not None:
            if status >= 0 or not template.is_serving:
                self._give_up(template, status)
            else:  # somebody has killed it
                _log.warning("the template process %s", exit_in_words(status))
                self._retire(template)
        elif template is not None and not template.is_as_fresh(self.launch):
            self._retire(template)
        if self._template is None and self._possible:
            self._template = Template(self.launch)
        return self._template

    def _retire(self, template: Template) -> None:
        self._template = None
        if template.users:
            self._former.add(template)
        else:
            template.end()

    def _give_up(self, template: Template, status: int) -> None:
        self._possible = False
        how, why = exit_in_words(status), template.last_words()
        _log.warning("each worker process is started by itself: the template %s: %s", how, why)
        self._retire(template)
