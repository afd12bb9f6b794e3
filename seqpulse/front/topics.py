"""Who waits for which changes, in one process. Belongs to one event loop."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable

from deployments.changes import EVERYTHING

# Changes are remembered for as long as a page may take from its rendering to its stream, or a view to its answer.
REMEMBERED_S = 60.0
MOST_REMEMBERED = 20_000


class Subscription:
    """Waits for changes of its topics. A change that comes while nobody waits is kept."""

    __slots__ = ("changed", "topics", "waiter")

    def __init__(self, topics: tuple[str, ...], *, changed: bool) -> None:
        self.topics = topics
        self.changed = changed
        self.waiter: asyncio.Future[None] | None = None

    def wake(self, *, changed: bool = True) -> None:
        """Have `wait` return: for a change, or without one."""
        self.changed = self.changed or changed
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self, until: float) -> bool:
        """Wait for a change; return False if there was none. until: by the loop's clock."""
        if not self.changed:
            loop = asyncio.get_running_loop()
            self.waiter = loop.create_future()
            timer = loop.call_at(until, self.wake_idle)
            try:
                await self.waiter
            finally:
                timer.cancel()
                self.waiter = None
        changed, self.changed = self.changed, False
        return changed

    def wake_idle(self) -> None:
        self.wake(changed=False)


class Topics:
    """All subscriptions of a process, by topic."""

    def __init__(self) -> None:
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._changed_at: dict[str, float] = {}
        # Since when all changes are known.
        self._known_since = 0.0
        # Number of announcements so far.
        self.announced = 0

    def subscribe(self, topics: tuple[str, ...], since: float) -> Subscription:
        """Subscribe; what has changed after `since` (by the loop's clock), or may have, is a change already."""
        subscription = Subscription(topics, changed=self.changed_since(topics, since))
        for topic in topics:
            self._subscriptions[topic].add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        for topic in subscription.topics:
            rest = self._subscriptions[topic]
            rest.discard(subscription)
            if not rest:
                del self._subscriptions[topic]

    def watched(self) -> Collection[str]:
        return self._subscriptions.keys()

    def changed_since(self, topics: Iterable[str], since: float) -> bool:
        if since < self._known_since:
            return True
        if EVERYTHING in topics:
            # The last one is the latest: thousands of changes may be remembered, and many pages come at once.
            return next(reversed(self._changed_at.values()), -1.0) >= since
        return any(self._changed_at.get(topic, -1.0) >= since for topic in topics)

    def announce(self, topics: Iterable[str]) -> None:
        """Wake those who wait for one of these topics, or for everything."""
        now = asyncio.get_running_loop().time()
        self.announced += 1
        woken = set(self._subscriptions.get(EVERYTHING, ()))
        for topic in topics:
            if topic == EVERYTHING:
                self.announce_all()
                return
            # Last in the order of insertion, in which old ones are forgotten.
            self._changed_at.pop(topic, None)
            self._changed_at[topic] = now
            woken |= self._subscriptions.get(topic, set())
        self._forget(now)
        for subscription in woken:
            subscription.wake()

    def announce_all(self) -> None:
        """Wake all: anything may have changed until now."""
        self.announced += 1
        self._known_since = asyncio.get_running_loop().time()
        self._changed_at.clear()
        self.wake_all()

    def wake_all(self, *, changed: bool = True) -> None:
        for subscription in {one for subscriptions in self._subscriptions.values() for one in subscriptions}:
            subscription.wake(changed=changed)

    def _forget(self, now: float) -> None:
        while self._changed_at:
            topic, at = next(iter(self._changed_at.items()))
            if len(self._changed_at) <= MOST_REMEMBERED and at > now - REMEMBERED_S:
                break
            del self._changed_at[topic]
            self._known_since = max(self._known_since, at)
