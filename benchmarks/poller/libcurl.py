"""libcurl alone, driven by events as in a poller: the least that a collection could cost."""

import select
import time
from dataclasses import dataclass

import pycurl

# As many bytes as the headers of a signed request.
HEADERS = ["Accept: application/json", "User-Agent: SeqPulse/1", *(f"X-SeqPulse-{n}: {'x' * 24}" for n in range(8))]
EVENTS = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
LONGEST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Alone:
    """Requests/s of libcurl, and its CPU per request in ms."""

    per_s: float
    cpu_ms: float


class Libcurl:
    """GETs over persistent connections, without signature, checks, limits and reading of the answers."""

    def __init__(self, urls: list[str], concurrency: int) -> None:
        self.urls, self.concurrency = urls, concurrency
        self.epoll, self.watched, self.due = select.epoll(), set[int](), 0.0
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.on_socket)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self.on_timer)
        self.multi.setopt(pycurl.M_MAXCONNECTS, 2 * concurrency)

    def on_socket(self, what: int, descriptor: int, *_: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self.watched.discard(descriptor)
            self.epoll.unregister(descriptor)
        elif descriptor in self.watched:
            self.epoll.modify(descriptor, EVENTS[what])
        else:
            self.watched.add(descriptor)
            self.epoll.register(descriptor, EVENTS[what])

    def on_timer(self, milliseconds: int) -> None:
        self.due = float("inf") if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def start(self, number: int, handle: pycurl.Curl) -> None:
        handle.setopt(pycurl.URL, self.urls[number % len(self.urls)])
        handle.setopt(pycurl.HTTPHEADER, HEADERS)
        self.multi.add_handle(handle)

    def wait(self) -> None:
        for descriptor, _ in self.epoll.poll(max(0.0, min(LONGEST_WAIT_S, self.due - time.monotonic()))):
            if descriptor in self.watched:
                self.multi.socket_action(descriptor, 0)
        if self.due <= time.monotonic():
            self.due = float("inf")
            self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def measure(self, count: int) -> Alone:
        """Send `count` requests. Raises RuntimeError if one fails."""
        begun, used = time.perf_counter(), time.process_time()
        for number in range(self.concurrency):
            handle = pycurl.Curl()
            handle.setopt(pycurl.WRITEFUNCTION, len)
            handle.setopt(pycurl.PROXY, "")
            self.start(number, handle)
        started, done = self.concurrency, 0
        while done < count:
            self.wait()
            _, succeeded, failed = self.multi.info_read(1000)
            if failed:
                raise RuntimeError(failed[0][2])
            for handle in succeeded:
                done += 1
                self.multi.remove_handle(handle)
                if started < count:
                    self.start(started, handle)
                    started += 1
        took_s, used_s = time.perf_counter() - begun, time.process_time() - used
        self.multi.close()
        self.epoll.close()
        return Alone(count / took_s, 1000 * used_s / count)
