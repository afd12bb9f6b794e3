"""The front of the web server, in this process, with the whole application behind it and a listener on the database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import connections

from scheduler.listener import connection_parameters
from seqpulse.front.bounds import Bounds
from seqpulse.front.bridge import Wsgi
from seqpulse.front.listening import Listener
from seqpulse.front.topics import Topics
from seqpulse.front.waiting import Waiting
from tests.front import Front, front
from tests.processes import wait_for


class CloseAtTheEnd(WSGIHandler):
    """Leaves no connection to the database of the test in the threads of the front."""

    def __call__(self, *args: Any) -> Any:
        try:
            return super().__call__(*args)
        finally:
            connections.close_all()


@dataclass
class Server:
    """A running front. url: where it listens."""

    front: Front
    waiting: Waiting
    url: str

    def wait_until_waiting(self, count: int) -> None:
        """Wait until so many calls and pages wait."""
        taken = self.waiting.places.taken
        wait_for(lambda: taken.total() == count, f"{count} that wait, not {taken.total()}", 20)


@contextmanager
def streaming(around: Callable[[Any], Wsgi] = lambda handler: handler, *, places: int = 100) -> Iterator[Server]:
    """Run a front with so many places to wait. around: makes the WSGI application of Django's handler."""
    topics, parameters = Topics(), connection_parameters()
    listener, waiting = Listener(topics, lambda: parameters), Waiting(topics, places)
    with front(around(CloseAtTheEnd()), Bounds(), waiting=waiting, listener=listener) as running:
        wait_for(lambda: listener.mode == "listen", "the listener")
        yield Server(running, waiting, f"http://127.0.0.1:{running.port}")
