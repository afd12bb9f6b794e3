"""A poller is killed while it sends a rollback: at most one request, and its event is emitted."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction

from analysis.tests.factories import make_verdict
from deployments.outbox import event_about
from deployments.tests.factories import make_deployment
from events.outbox import emit
from notifications.rollbacks.policies import set_policy
from projects.tests.factories import make_environment
from tests.processes import Installation, wait_for

pytestmark = pytest.mark.e2e


@contextmanager
def listening(on_request: Callable[[], None], begin: threading.Event) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a receiver, which accepts nothing before `begin`, and the requests that reached it."""
    server = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        begin.wait(60)
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    request = connection.recv(65536)
                except OSError:
                    continue
                if request:
                    received.append(request)
                    on_request()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook", received
    finally:
        begin.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def recommend(scene: Installation, url: str) -> int:
    """Recommend a rollback in an environment that rolls back by itself."""
    with scene.here(), transaction.atomic():
        environment = make_environment(name="prod")
        set_policy(environment, mode="automatic", url=url)
        deployment = make_deployment(environment=environment, state="analyzed")
        make_verdict(deployment, verdict="rollback_recommended")
        emit(event_about(deployment, "verdict_issued"))
        return deployment.pk


def state(scene: Installation, deployment: int) -> str:
    rows = scene.rows("SELECT state FROM rollback_attempts WHERE deployment_id = %s", deployment)
    return str(rows[0][0]) if rows else ""


def test_a_killed_poller_leaves_one_request_at_most_and_an_attempt_that_is_notified_as_unknown(
    scene: Installation,
) -> None:
    accepting, at_once = threading.Event(), threading.Event()
    at_once.set()

    def kill() -> None:
        poller.kill()

    poller = scene.start_poller("first")
    with (
        listening(lambda: None, accepting) as (early, before),
        listening(kill, at_once) as (late, after),
    ):
        # Between the commit and the answer: nothing reads what is sent.
        first = recommend(scene, early)
        wait_for(lambda: state(scene, first) == "sending", "the attempt to be committed")
        poller.kill()
        poller.wait()
        poller = scene.start_poller("second")
        wait_for(lambda: state(scene, first) == "unknown", "the lost attempt to be found")
        # Between the request and the record of its answer: the receiver kills the poller.
        second = recommend(scene, late)
        poller.wait(30)
        scene.start_poller("third")
        wait_for(lambda: state(scene, second) == "unknown", "the second lost attempt to be found")
        accepting.set()
        third = recommend(scene, early)
        wait_for(lambda: state(scene, third) not in ("", "approved", "sending"), "later ones to go on")
        emitted = scene.rows("SELECT deployment_id FROM events WHERE kind = 'rollback_unknown' ORDER BY id")
    assert len(after) == 1 and after[0].count(b"POST /hook") == 1
    # That of the first, if it left at all, and that of the third.
    assert 1 <= len(before) <= 2
    assert emitted[:2] == [(first,), (second,)] and len(emitted) <= 3
