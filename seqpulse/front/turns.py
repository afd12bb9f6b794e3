"""Whose request is next: each address in turn, so that the many requests of one do not delay those of the others."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets `slots` requests run at once. Belongs to one event loop."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        # Those that wait, by address. The next turn is that of the first address, which is then the last.
        self.waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def one_for(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn of the address, which lasts as long as the block."""
        await self._take(address)
        try:
            yield
        finally:
            self._give()

    async def _take(self, address: str) -> None:
        if self.free:
            self.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(address, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # It may have been given the turn at the same moment.
            if not turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        while self.waiting:
            address = next(iter(self.waiting))
            turns = self.waiting.pop(address)
            turn = turns.popleft()
            if turns:
                self.waiting[address] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
