"""Waiting in the event loop (seqpulse/front): who is woken by what, who gets a place, what a lost connection does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.http import HttpResponse
from psycopg.conninfo import conninfo_to_dict

from analysis.tests.factories import make_verdict
from common.holding import Answer, Stream
from deployments import changes
from deployments.changes import CHANNEL, EVERYTHING
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from scheduler.listener import connection_parameters
from seqpulse.front import listening, topics, waiting
from seqpulse.front.listening import Listener
from seqpulse.front.topics import Topics
from seqpulse.front.waiting import ALIVE, CHANGED, Places, Waiting
from tests.databases import connected_to, own_database
from tests.pooler import pgbouncer

PATIENCE_S = 20.0
LONG_S = 60.0

Test = Callable[[Waiting], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


def run(test: Test, places: int = 100) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test(Waiting(Topics(), places))

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


class Looks:
    """What a view's `look` returns, in turn; the last value for ever. Notes whether the time was up."""

    def __init__(self, *found: HttpResponse | None) -> None:
        self.found = list(found)
        self.asked: list[bool] = []

    def __call__(self, last: bool) -> HttpResponse | None:
        self.asked.append(last)
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]


OK = HttpResponse("ok")


def answer(
    look: Callable[[bool], HttpResponse | None], seconds: float = LONG_S, owner: str = "p", key: str | None = None
) -> Answer:
    return Answer(("s1", "s2"), seconds, owner, look, key)


async def waiting_for(held: Waiting, *answers: Answer, since: float | None = None) -> list[asyncio.Task[Any]]:
    """Start waiting; return once all wait or have been answered."""
    tasks = [asyncio.create_task(held.answer(one, now() if since is None else since)) for one in answers]
    await asyncio.sleep(0.01)
    return tasks


def test_a_change_of_the_topic_answers_and_another_does_not(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        look = Looks(None, OK)
        [task] = await waiting_for(held, answer(look))
        held.topics.announce(["s3", "d1"])
        await asyncio.sleep(0.01)
        assert look.asked == []
        held.topics.announce(["s2"])
        await until(lambda: look.asked == [False])
        assert not task.done()
        held.topics.announce(["s1", "s9"])
        assert await task is OK
        assert (held.topics.watched(), held.places.taken) == (set(), {})

    run(test)


def test_what_changed_before_the_view_looked_is_no_change_and_what_changed_since_is(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        held.topics.announce(["s1"])
        await asyncio.sleep(0.01)
        look = Looks(OK)
        [late] = await waiting_for(held, answer(look))
        assert look.asked == []
        since = now()
        await asyncio.sleep(0.01)
        held.topics.announce(["s1"])
        assert await late is OK
        [task] = await waiting_for(held, answer(Looks(OK)), since=since)
        assert await task is OK
        # After a connection was lost nobody knows what changed.
        held.topics.announce_all()
        [task] = await waiting_for(held, answer(Looks(OK)), since=since)
        assert await task is OK

    run(test)


def test_changes_are_forgotten_and_then_anything_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MOST_REMEMBERED", 2)

    async def test(held: Waiting) -> None:
        before = now()
        held.topics.announce(["s1", "s2"])
        assert not held.topics.changed_since(["s3"], before)
        held.topics.announce(["s4"])
        assert held.topics.changed_since(["s3"], before)
        assert not held.topics.changed_since(["s3"], now() + 0.001)
        assert held.topics.changed_since([EVERYTHING], before)
        last = now()
        held.topics.announce(["s2"])
        assert held.topics.changed_since([EVERYTHING], last)
        assert not held.topics.changed_since([EVERYTHING], now() + 0.001)

    run(test)


def test_when_the_time_is_up_the_view_looks_once_more(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        look = Looks(OK)
        assert await held.answer(answer(look, seconds=0.02), now()) is OK
        assert look.asked == [True]
        assert await held.answer(answer(Looks(None), seconds=0.02), now()) is None

    run(test)


def test_equal_answers_to_one_change_are_looked_for_once(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        look = Looks(None, OK)
        tasks = await waiting_for(held, *[answer(look, key="same")] * 20)
        held.topics.announce(["s1"])
        await until(lambda: look.asked == [False])
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        held.topics.announce(["s1"])
        assert await asyncio.gather(*tasks[1:]) == [OK] * 19
        assert look.asked == [False, False]

    run(test)


def test_a_look_that_began_before_a_change_does_not_count_for_it(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slow(last: bool) -> HttpResponse | None:
            if begun.is_set():
                return OK
            begun.set()
            assert go_on.wait(PATIENCE_S)
            return None

        tasks = await waiting_for(held, *[answer(slow, key="same")] * 2)
        tasks += await waiting_for(held, Answer(("s3",), LONG_S, "p", slow, key="same"))
        held.topics.announce(["s1"])
        await until(begun.is_set)
        held.topics.announce(["s3"])
        assert await tasks[2] is OK
        go_on.set()
        held.topics.announce(["s1"])
        assert await asyncio.gather(*tasks) == [OK] * 3

    run(test)


def test_the_end_of_the_server_answers_all_at_once(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        look = Looks(OK)
        stream = held.events(Stream(("d1",), "u", 0.0, lambda: True))
        assert (await anext(stream)).startswith(b"retry: ")
        page = asyncio.ensure_future(anext(stream, b"over"))
        tasks = await waiting_for(held, *[answer(look)] * 5)
        held.end()
        assert await asyncio.gather(*tasks, page) == [*[None] * 5, ALIVE]
        assert await anext(stream, b"over") == b"over"
        assert await held.answer(answer(look), now()) is None
        assert look.asked == []
        assert held.places.taken == {}

    run(test)


def test_a_client_that_goes_away_frees_its_place(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        tasks = await waiting_for(held, *[answer(Looks(OK))] * 5)
        stream = held.events(Stream(("d1",), "u", 0.0, lambda: True))
        await anext(stream)
        assert held.places.taken == {"p": 5, "u": 1}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stream.aclose()
        assert (held.topics.watched(), held.places.taken) == (set(), {})

    run(test)


def test_a_project_alone_gets_half_of_the_places_and_leaves_some_to_all_others(no_database: None) -> None:
    async def test(held: Waiting) -> None:
        many = await waiting_for(held, *[answer(Looks(OK), owner="greedy")] * 80)
        assert sum(not task.done() for task in many) == 50
        assert {task.result() for task in many if task.done()} == {None}
        others = await waiting_for(held, *[answer(Looks(OK), owner=f"p{number}") for number in range(40)])
        assert not any(task.done() for task in others)
        refused = held.events(Stream(("d1",), "greedy", 0.0, lambda: True))
        assert await anext(refused, b"refused") == b"refused"
        for task in (*many, *others):
            task.cancel()

    run(test)


@pytest.mark.parametrize("owners", [1, 2, 9])
def test_those_who_want_all_get_equal_shares(owners: int) -> None:
    places = Places(1000)
    for _ in range(1000):
        for owner in range(owners):
            places.one_for(str(owner)).__enter__()
    assert all(abs(taken - 1000 / (owners + 1)) < 2 for taken in places.taken.values())
    assert places.taken.total() <= 1000


def test_a_page_gets_one_event_for_changes_in_a_row_and_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "EVENT_EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "ALIVE_EVERY_S", 0.2)
    monkeypatch.setattr(waiting, "STREAM_FOR_S", 0.6)

    async def test(held: Waiting) -> None:
        held.topics.announce(["d1"])
        # The page was made before the change, its stream is opened after it.
        stream = held.events(Stream(("d1", "e1"), "u", missed_s=5.0, may_go_on=lambda: True))
        await anext(stream)
        assert await anext(stream) == CHANGED
        for topic in ("d1", "e1", "d1"):
            held.topics.announce([topic])
        assert [await anext(stream), await anext(stream)] == [CHANGED, ALIVE]
        everything = held.events(Stream((EVERYTHING,), "admin", missed_s=0.0, may_go_on=lambda: True))
        await anext(everything)
        held.topics.announce(["t5"])
        assert await anext(everything) == CHANGED
        assert [event async for event in stream] in ([ALIVE], [ALIVE] * 2, [ALIVE] * 3)
        await everything.aclose()

    run(test)


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks of these tests read nothing."""
    monkeypatch.setattr(waiting, "close_old_connections", lambda: None)


@pytest.mark.django_db(transaction=True)
def test_the_listener_survives_the_loss_of_its_connection(monkeypatch: pytest.MonkeyPatch, no_database: None) -> None:
    monkeypatch.setattr(listening, "RECONNECT_AFTER_S", 0.1)
    # Not in the loop's thread: Django forbids its connection there.
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN seqpulse_changes'"
    parameters = connection_parameters()

    async def execute(statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as link:
            await link.execute(statement)  # type: ignore[arg-type]

    async def test(held: Waiting) -> None:
        listener = Listener(held.topics, lambda: parameters)
        task = asyncio.create_task(listener.run())
        await until(lambda: listener.mode == "listen")
        [first] = await waiting_for(held, answer(Looks(OK)))
        await execute(f"NOTIFY {CHANNEL}, 's2 d4'")
        assert await first is OK
        look = Looks(None, OK)
        [second] = await waiting_for(held, answer(look))
        await execute(ended)
        # What was committed meanwhile is looked for by all.
        await until(lambda: look.asked == [False])
        assert listener.mode == "listen"
        await execute(f"NOTIFY {CHANNEL}, 's1'")
        assert await second is OK
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(test)


def test_where_notifications_do_not_arrive_one_query_looks_for_all(
    server_dir: Path, monkeypatch: pytest.MonkeyPatch, no_database: None
) -> None:
    monkeypatch.setattr(listening, "ARRIVES_WITHIN_S", 0.3)
    with own_database(migrated=True) as url, pgbouncer(url, server_dir) as pooled:
        with connected_to(url):
            deployments = [make_deployment(state="finished") for _ in range(30)]

        def judge(deployment: Deployment) -> None:
            with connected_to(url):
                make_verdict(deployment)

        async def test(held: Waiting) -> None:
            looks = [Looks(None, OK) for _ in deployments]
            listener = Listener(held.topics, lambda: conninfo_to_dict(pooled))
            tasks = await waiting_for(
                held,
                *(
                    Answer((changes.state_of(one.pk),), LONG_S, f"p{one.project_id}", look)
                    for one, look in zip(deployments, looks, strict=True)
                ),
            )
            listening_on = asyncio.create_task(listener.run())
            # Once for all: what has changed before the first query is not known.
            await until(lambda: all(look.asked == [False] for look in looks))
            assert listener.mode == "look"
            before, began = listener.queries, now()
            await asyncio.to_thread(judge, deployments[3])
            assert await tasks[3] is OK
            assert listener.queries - before <= (now() - began) / listening.LOOK_EVERY_S + 2
            await asyncio.sleep(2 * listening.LOOK_EVERY_S)
            assert sum(len(look.asked) for look in looks) == len(looks) + 1
            for task in (*tasks, listening_on):
                task.cancel()
            await asyncio.gather(*tasks, listening_on, return_exceptions=True)

        run(test)
