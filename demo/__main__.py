"""Run the demo: `python -m demo [--exit]`, called by `make demo`."""

import argparse
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg

from demo.http import CallFailed
from demo.load import Load
from demo.play import Outcome, Play, PlayFailed, table
from demo.prometheus import EXPRESSIONS, SCRAPE_S, programs, start_prometheus
from demo.service import EXPOSITION, JSON, NOTHING, SECRET_VARIABLE
from seqpulse.devserver import embedded
from seqpulse.devserver.embedded_process import exists
from seqpulse.devserver.processes import Children, Stopped, stop_on_signals
from seqpulse.devserver.runner import BASE_DIR, RunError, Supervisor, data_dir, prepared, say
from seqpulse.environment import Environment, Port, comma_separated

ENDPOINT, PROMETHEUS, CHECK = "endpoint", "prometheus", "check"
# What the service offers besides its pages, by what measures it.
SPEAKS = {ENDPOINT: JSON, PROMETHEUS: EXPOSITION, CHECK: NOTHING}
# The service itself measures over two seconds, the Prometheus over three; the first sample comes after finish.
TAKES_OVER_S = {ENDPOINT: 1.2, PROMETHEUS: 3.2, CHECK: 1.2}
# A sample of journeys takes as long as these.
CHECKED_TIMES, CHECKED_EVERY_S = 10, 4
LOG_LINES_SHOWN = 15
PORTS_TRIED = 20
# Pollers alive on this database. The same age as in health answers (scheduler.models).
LIVE_POLLERS = "SELECT host, pid FROM pollers WHERE heartbeat_at > now() - interval '30 seconds'"


def main() -> int:
    """Run the demo and return its exit code; with --exit it is 0 only if the three verdicts are as expected."""
    parser = argparse.ArgumentParser(prog="make demo", description="Three deployments of a simulated service.")
    parser.add_argument("--exit", action="store_true", help="end afterwards; exit code 0: verdicts as expected")
    parser.add_argument(
        "--source",
        choices=[*SPEAKS],
        default=ENDPOINT,
        help="what the service is measured by: its own endpoint (default), a real Prometheus, or its pages",
    )
    options = parser.parse_args()
    stop_on_signals()
    try:
        return run(options.source, stay=not options.exit)
    except Stopped as stopped:
        say(f"\nStopped by {stopped}.")
        return 0 if not options.exit else 130
    except (RunError, PlayFailed, CallFailed) as error:
        say(f"\nThe demo has failed: {error}")
        return 1


def run(source: str, *, stay: bool) -> int:
    """Run the demo, from starting the database to stopping the last process.

    Raises: RunError, PlayFailed, CallFailed, Stopped.
    """
    started = time.monotonic()
    if source == PROMETHEUS:
        programs()
    set_environment(CHECKED_EVERY_S if source == CHECK else 1)
    directory = data_dir()
    with prepared(directory):
        logging.getLogger().setLevel(logging.WARNING)
        log_dir = directory / "demo"
        log_dir.mkdir(exist_ok=True)
        with running_processes(directory, log_dir, source) as (play, supervisor, password):
            say(f"Ready after {time.monotonic() - started:.0f} s.")
            outcomes = play.run()
            as_expected = conclude(outcomes, play.site, password, time.monotonic() - started)
            if not stay:
                return 0 if as_expected else 1
            say("Serving until Ctrl-C.")
            return supervisor.run()


def set_environment(interval_s: int = 1) -> None:
    """Set environment variables of this process and its children, before settings are read."""
    os.environ.setdefault("SEQPULSE_SAMPLE_INTERVAL_SECONDS", str(interval_s))
    os.environ.setdefault("SEQPULSE_BASELINE_INTERVAL_SECONDS", str(interval_s))
    # The demo shows every sample as it arrives, so it polls more often than a pipeline.
    os.environ.setdefault("SEQPULSE_RATE_DEPLOYMENTS", "1000/m")
    os.environ["SEQPULSE_OUTBOUND_ALLOW"] = with_items("SEQPULSE_OUTBOUND_ALLOW", "127.0.0.0/8")
    os.environ.setdefault("SEQPULSE_SHOW_INTERNAL_ANSWERS", "on")
    os.environ["ALLOWED_HOSTS"] = with_items("ALLOWED_HOSTS", "localhost", "127.0.0.1")
    os.environ["SEQPULSE_BIND"] = "127.0.0.1"
    # Plain HTTP on this machine: secure cookies would make sign-in impossible.
    os.environ.setdefault("SEQPULSE_HTTPS", "off")
    wanted = Environment().typed("PORT", 8000, Port)
    near = range(wanted, min(wanted + PORTS_TRIED, 65536))
    port = next(filter(None, map(bindable, (*near, 0))))
    if port != wanted:
        say(f"Port {wanted} is taken; the demo uses {port}.")
    os.environ["PORT"] = str(port)
    avoid_other_pollers()


def with_items(name: str, *items: str) -> str:
    return ",".join(dict.fromkeys([*Environment().many(name, comma_separated), *items]))


def bindable(port: int) -> int:
    """Return the port, or one that is free for 0; return 0 if it is taken."""
    try:
        with socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    except OSError:
        return 0


def avoid_other_pollers() -> None:
    """Use another database if a poller works on this one: it would claim the demo's jobs and refuse to call loopback.

    Raises: RunError if DATABASE_URL names that database.
    """
    given = Environment().text("DATABASE_URL")
    directory = data_dir()
    if given and poller_at_work(given):
        raise RunError("A poller works on the database of DATABASE_URL. Stop it, or name another database.")
    if not given and embedded.is_running(directory) and poller_at_work(embedded.url(directory)):
        os.environ["SEQPULSE_DATA_DIR"] = str(directory / "demo" / "data")
        say(f"SeqPulse is running on {directory} already; the demo uses a database of its own.")


def poller_at_work(url: str) -> bool:
    """Return whether a poller works on this database. A killed poller of this machine does not count."""
    try:
        with psycopg.connect(url, connect_timeout=5) as link:
            rows = link.execute(LIVE_POLLERS).fetchall()
    except psycopg.Error:
        return False  # no table or no database yet: prepare() reports it
    return any(host != socket.gethostname() or exists(pid) for host, pid in rows)


@contextmanager
def running_processes(directory: Path, log_dir: Path, source: str) -> Iterator[tuple[Play, Supervisor, str]]:
    """Start service, web server, poller and load; stop them on exit.

    Yields: the play, the supervisor of the processes, the password of the user `demo`.
    """
    from demo.stage import baseline_of, measure_by, set_up  # noqa: PLC0415  (models: only after prepare())

    service_port = bindable(0)
    service = f"http://127.0.0.1:{service_port}"
    made, password = set_up(f"{service}/ds-metrics" if source == ENDPOINT else "", directory)
    for log in log_dir.glob("*.log"):
        log.unlink()
    children, load = Children(), Load(service_port)
    try:
        secret = {SECRET_VARIABLE: made.hmac_secret or ""}
        command = [sys.executable, "-m", "demo.service", "--port", str(service_port), "--speaks", SPEAKS[source]]
        simulated = children.start("service", command, env={**os.environ, **secret}, cwd=BASE_DIR, log_dir=log_dir)
        if source == PROMETHEUS:
            target = f"127.0.0.1:{service_port}"
            place = log_dir / "prometheus"
            url = start_prometheus(children, place, target, port=bindable(0), service=simulated.pid)
            config = {"url": url, "expressions": EXPRESSIONS, "scrape_interval_s": SCRAPE_S}
            measure_by(made.environment, PROMETHEUS, config)
        elif source == CHECK:
            measure_by(
                made.environment, CHECK, {"base_url": service, "steps": [{"url": "/work"}], "times": CHECKED_TIMES}
            )
        supervisor = Supervisor(children, dict(os.environ), log_dir)
        supervisor.start()
        load.start()

        def look() -> None:
            if simulated.poll() is not None or supervisor.look() is not None:
                raise PlayFailed(f"a process has ended by itself.\n{last_lines(log_dir)}")

        site = f"http://127.0.0.1:{os.environ['PORT']}"
        baseline = None if source == PROMETHEUS else partial(baseline_of, made.environment)
        play = Play(site, service, made.api_key, look, baseline, takes_over_s=TAKES_OVER_S[source])
        play.wait_until_ready()
        say(f"Project {made.project.name!r}: web server, poller and simulated service are up (logs: {log_dir})")
        yield play, supervisor, password
    finally:
        load.stop()
        children.stop()


def last_lines(log_dir: Path) -> str:
    """Return the last lines of each process log."""
    parts = []
    for log in sorted(log_dir.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        parts.append("\n".join([f"--- {log}", *lines]))
    return "\n".join(parts)


def conclude(outcomes: list[Outcome], site: str, password: str, took_s: float) -> bool:
    """Print the verdicts and the login; return whether the verdicts are as expected."""
    print(f"\n{table(outcomes)}\n")
    address = site.replace("127.0.0.1", "localhost")
    print(f"Dashboard  {address}/\nLogin      demo\nPassword   {password}\n\nThe demo took {took_s:.0f} s.", flush=True)
    wrong = [outcome for outcome in outcomes if not outcome.as_expected]
    for outcome in wrong:
        say(f"Not as expected: version {outcome.act.version!r} should be {outcome.act.expected!r}.")
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
