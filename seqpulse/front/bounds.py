"""What clients of a worker may take: time, and numbers by address. Pure.

Numbers are of a worker, because workers share nothing but the database, which must not be asked about a client that has
not even sent its request.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds, bytes, and numbers.

    Attributes:
        head_s, body_s: for the head of a request, from its first byte, and for its body.
        answer_s, answer_bytes: an answer must get on by so many bytes in that time.
        head_bytes, fields: size of a head; number of its fields.
        pieces, piece_bytes: a request that comes in more pieces must come in pieces of this size on average.
        slow_s, slow_per_address: how many connections of one address may leave a part of a request unsent, or a part
            of an answer untaken, for longer than that. The oldest ones beyond that number are ended.
        running_per_address, running: how many requests may be with the application, or wait for their turn, in which
            addresses alternate.
        connections: how many there may be at all.
        pipelined: how many requests a client may send without waiting for their answers.
        held_bytes_per_address, held_bytes: what may be kept of requests until they are answered.
        untaken_bytes: what may be kept of answers that clients take slowly.
        small_bytes: requests of this size are served also beside too many bytes of others.
    """

    head_s: float = 10.0
    body_s: float = 20.0
    answer_s: float = 20.0
    answer_bytes: int = 16 * KIB
    head_bytes: int = 64 * KIB
    fields: int = 100
    pieces: int = 64
    piece_bytes: int = 64
    slow_s: float = 1.0
    slow_per_address: int = 128
    running_per_address: int = 2048
    running: int = 4096
    connections: int = 8192
    pipelined: int = 64
    held_bytes_per_address: int = 16 * MIB
    held_bytes: int = 64 * MIB
    small_bytes: int = 16 * KIB
    untaken_bytes: int = 64 * MIB

    @property
    def sweep_s(self) -> float:
        """Return how often to look at all connections."""
        return min(0.5, min(self.head_s, self.body_s, self.answer_s) / 4)


class Running:
    """Requests that the application works on, or that wait for it, and the bytes of all requests, by address."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.by_address: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.total_bytes = 0

    @contextmanager
    def one_of(self, address: str, size: int = 0) -> Iterator[int]:
        """Count a request during the block. Yields the status with which it is to be refused, 0 if it is not.

        address: "" counts in the total only. size: of its body.
        """
        if self.by_address.total() >= self.bounds.running:
            yield 503
            return
        if address and self.by_address[address] >= self.bounds.running_per_address:
            yield 429
            return
        self.by_address[address] += 1
        refused = self.hold(address, size)
        try:
            yield refused if size > self.bounds.small_bytes else 0
        finally:
            self.release(address, size)
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]

    def hold(self, address: str, size: int) -> int:
        """Count bytes until they are released. Returns 429 if the address holds too many now, 503 if all do, else 0."""
        if not size:
            return 0
        self.bytes[address] += size
        self.total_bytes += size
        if address and self.bytes[address] > self.bounds.held_bytes_per_address:
            return 429
        return 503 if self.total_bytes > self.bounds.held_bytes else 0

    def release(self, address: str, size: int) -> None:
        self.bytes[address] -= size
        self.total_bytes -= size
        if not self.bytes[address]:
            del self.bytes[address]
