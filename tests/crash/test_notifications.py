"""Pollers that are killed while they make and send deliveries."""

import sys
from collections import Counter, defaultdict

import pytest

from events.outbox import NewEvent, emit
from notifications.tests.factories import make_channel
from notifications.tests.receivers import receiving
from tests.crash.scene import LONG_LEASE_S, one
from tests.processes import Installation, wait_for

pytestmark = pytest.mark.e2e

KILLS, EVENTS, CHANNELS = 2, 60, 3
HELD = (
    "SELECT pid FROM scheduled_jobs JOIN pollers ON locked_by = name WHERE status = 'running' AND pid = ANY(%s)"
    " AND job_type IN ('deliver', 'fan_out') GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
)
OPEN = (
    "SELECT (SELECT count(*) FROM events WHERE fanned_out_at IS NULL)"
    " + (SELECT count(*) FROM notification_deliveries WHERE state = 'pending')"
)


def test_events_are_delivered_by_each_channel_though_pollers_are_killed(scene: Installation) -> None:
    pollers = [scene.start_poller(f"poller-{number}", "--lease", LONG_LEASE_S) for number in range(2)]
    with receiving(pause_s=0.02) as receiver:
        with scene.here():
            first = make_channel(receiver.at("/0"))
            for number in range(1, CHANNELS):
                make_channel(receiver.at(f"/{number}"), team=first.team)
        for number in range(KILLS):
            with scene.here():
                for _ in range(EVENTS // 2):  # in many transactions, besides one with many
                    emit(NewEvent("key_made", first.team_id))
                emit(*(NewEvent("key_made", first.team_id) for _ in range(EVENTS // 2)))
            seen = len(receiver.requests)
            wait_for(lambda seen=seen: len(receiver.requests) > seen, "an attempt")  # type: ignore[misc]
            pids = [poller.pid for poller in pollers]
            [(pid,)] = wait_for(lambda pids=pids: scene.rows(HELD, pids), "a poller to have deliveries")  # type: ignore[misc]
            [victim] = [poller for poller in pollers if poller.pid == pid]
            victim.kill()
            victim.wait()
            pollers.remove(victim)
            options = ("--lease", LONG_LEASE_S)
            pollers.append(scene.start(f"poller-{number + 2}", sys.executable, "manage.py", "run_poller", *options))
        wait_for(lambda: one(scene, OPEN) == 0, "everything to be delivered", 60)
    wanted = KILLS * EVENTS * CHANNELS
    assert scene.rows("SELECT state, count(*) FROM notification_deliveries GROUP BY 1") == [("sent", wanted)]
    assert one(scene, "SELECT count(DISTINCT (event_id, channel_id)) FROM notification_deliveries") == wanted
    # Whatever was sent again when its poller died came under the same id.
    delivered = defaultdict(set)
    for (path, headers, _), body in zip(receiver.requests, receiver.bodies(), strict=True):
        delivered[path, body["data"]["event_id"]].add(headers["webhook-id"])
    assert len(delivered) == wanted and {len(ids) for ids in delivered.values()} == {1}
    assert len({key for ids in delivered.values() for key in ids}) == wanted
    attempts = Counter(dict(scene.rows("SELECT attempts, count(*) FROM notification_deliveries GROUP BY 1")))
    assert attempts[1] < wanted
    recovered = """SELECT count(*) FROM scheduled_jobs WHERE history @> '[{"code": "poller_lost"}]'"""
    assert one(scene, recovered) > 0
