"""Record a newcomer's way to the first verdict in Chromium, with the time of each step: docs/quickstart.md.

A real service under load, a real Prometheus that has scraped it before, our server as `make run` starts it. The script
types, reads each page for a moment, and runs the pipeline's line. `--images DIRECTORY` keeps screenshots.
"""

import argparse
import io
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
# Of this process; the server's are in staged().
os.environ.setdefault("DEBUG", "on")

import django

django.setup()

from django.utils.text import capfirst  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402
from prometheus_client import Histogram  # noqa: E402

from benchmarks.report import print_table  # noqa: E402
from benchmarks.site import ROOT, free_ports  # noqa: E402
from benchmarks.sources.shop import LATENCY_S  # noqa: E402
from demo.load import REQUESTS_PER_SECOND, Load  # noqa: E402
from metrics.tests.prometheus import Series, prometheus_with  # noqa: E402
from tests.system_tools import require  # noqa: E402

SCRAPE_S = 5
DAYS = (1, 2, 7)
TYPING_MS, READING_S = 60, 2.0
SIZE = {"width": 1100, "height": 760}
PATIENCE_MS = 20_000
USER = "ada"
DEPLOY = """kill $(cat shop.pid)
{python} -m benchmarks.sources.shop {port} {version} >/dev/null 2>&1 &
until curl -fsS -o /dev/null http://127.0.0.1:{port}/ 2>/dev/null; do sleep 0.2; done
"""


def past(instance: str) -> Series:
    """Return what the Prometheus has scraped of the service: 40 minutes, and the same ones of earlier days."""
    now, rng = time.time(), random.Random(14)
    low, high = LATENCY_S["1"]
    labels = f'instance="{instance}",job="shop"'
    found: dict[str, dict[float, float]] = {}
    for days in (*reversed(DAYS), 0):
        begin, end = now - days * 86_400 - 2400, now - days * 86_400 + (2400 if days else -1)
        count = cpu_s = 0.0
        for step in range(int((end - begin) // SCRAPE_S)):
            at = begin + step * SCRAPE_S
            count += round(REQUESTS_PER_SECOND * SCRAPE_S * rng.uniform(0.93, 1.07))
            cpu_s += 0.02 * SCRAPE_S
            for bound in Histogram.DEFAULT_BUCKETS:
                below = min(1.0, max(0.0, (bound - low) / (high - low)))
                le = "+Inf" if bound == float("inf") else str(bound)
                name = f'http_request_duration_seconds_bucket{{{labels},le="{le}",status="200"}}'
                found.setdefault(name, {})[at] = round(count * below)
            found.setdefault(f'http_request_duration_seconds_count{{{labels},status="200"}}', {})[at] = count
            found.setdefault(f"process_cpu_seconds_total{{{labels}}}", {})[at] = round(cpu_s, 2)
    return found


@dataclass
class Recording:
    """The steps with their times, and where screenshots go (None: nowhere)."""

    images: Path | None
    rows: list[dict[str, object]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.rows.append({"step": name, "s": time.monotonic() - begun})
        print(f"{time.monotonic() - begun:6.1f} s  {name}", flush=True)

    def show(self, page: Page, name: str) -> None:
        if self.images is None:
            return
        shot = Image.open(io.BytesIO(page.screenshot()))
        shot.save(self.images / f"quickstart-{name}.webp", quality=80, method=6)


@dataclass
class Newcomer:
    """Somebody in front of the pages, who reads and types at the pace of a person."""

    page: Page

    def click(self, role: str, name: str, *, exact: bool = True) -> None:
        self.page.wait_for_timeout(READING_S * 1000)
        self.page.get_by_role(role, name=name, exact=exact).first.click()  # type: ignore[arg-type]

    def write(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.fill("")
        box.press_sequentially(text, delay=TYPING_MS)

    def see(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)

    def bring(self, text: str) -> None:
        """Scroll down to this text."""
        self.page.get_by_text(text).first.evaluate("element => element.scrollIntoView({block: 'start'})")


@dataclass
class Stage:
    """What is there before the newcomer comes, and the server."""

    directory: Path
    url: str
    shop: int
    prometheus: str
    password: str
    env: dict[str, str]


def start_shop(directory: Path, port: int) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.sources.shop", str(port), "1"]
    subprocess.Popen(command, cwd=directory, env=env, start_new_session=True)


def stop_shop(directory: Path) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((directory / "shop.pid").read_text()), signal.SIGTERM)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.2)
    raise TimeoutError(url)


@contextmanager
def staged(recording: Recording, interval_s: int) -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="seqpulse-quickstart-")))
        shop, port = free_ports(2)
        stack.callback(stop_shop, directory)
        start_shop(directory, shop)
        wait_for(f"http://127.0.0.1:{shop}/")
        load = Load(shop)
        load.start()
        stack.callback(load.stop)
        scrape = {
            "job_name": "shop",
            "scrape_interval": f"{SCRAPE_S}s",
            "static_configs": [{"targets": [f"127.0.0.1:{shop}"]}],
        }
        config = json.dumps({"scrape_configs": [scrape]})
        prometheus = stack.enter_context(prometheus_with(directory, past(f"127.0.0.1:{shop}"), config=config))
        time.sleep(6 * SCRAPE_S)
        env = {
            **os.environ,
            "PORT": str(port),
            "ALLOWED_HOSTS": "localhost",
            "SEQPULSE_DATA_DIR": str(directory / "data"),
            "SEQPULSE_BIND": "127.0.0.1",
            "SEQPULSE_HTTPS": "off",
            "SEQPULSE_OUTBOUND_ALLOW": "127.0.0.0/8",
            "SEQPULSE_SAMPLE_INTERVAL_SECONDS": str(interval_s),
        }
        for name in ("DATABASE_URL", "DEBUG"):
            env.pop(name, None)
        url, password = f"http://localhost:{port}", secrets.token_urlsafe(9)
        with (directory / "server.log").open("wb") as log, recording.step("server and database from nothing"):
            server = subprocess.Popen(
                [sys.executable, "-m", "seqpulse.devserver"], cwd=ROOT, env=env, stdout=log, stderr=log
            )
            stack.callback(server.wait, 60)
            stack.callback(server.terminate)
            wait_for(f"{url}/health")
        with recording.step("first account, from the shell"):
            command = [sys.executable, "manage.py", "createsuperuser", "--noinput", "--email", "ada@example.org"]
            account = {"DJANGO_SUPERUSER_USERNAME": USER, "DJANGO_SUPERUSER_PASSWORD": password}
            subprocess.run([*command, "--username", USER], cwd=ROOT, env={**env, **account}, check=True)
        yield Stage(directory, url, shop, prometheus, password, env)


def sign_in(one: Newcomer, stage: Stage) -> None:
    one.page.goto(f"{stage.url}/dashboard/projects/")
    one.write("User name or e-mail address", USER)
    one.write("Password", stage.password)
    one.click("button", "Sign in")
    one.see("Create a project")


def make_project(one: Newcomer, stage: Stage, name: str) -> str:
    """Return the API key of a new project, with the page on which a source is chosen in front."""
    one.page.goto(f"{stage.url}/dashboard/projects/new/")
    one.write("Name of the project", name)
    one.click("button", "Make the project")
    key = str(one.page.locator("#api-key").text_content()).strip()
    one.click("link", "Go on", exact=False)
    one.click("link", "Choose a source")
    return key


def deploy(stage: Stage, key: str, recording: Recording, version: str) -> str:
    """Run the pipeline's line; return the address of the deployment's page."""
    env = {**stage.env, "SEQPULSE_URL": stage.url, "SEQPULSE_ENV": "prod", "SEQPULSE_API_KEY": key}
    env["PYTHONPATH"] = str(ROOT)
    script = stage.directory / "deploy.sh"
    script.write_text(DEPLOY.format(python=sys.executable, port=stage.shop, version=version))
    with recording.step("fetch the client, begin the deployment, deploy, finish"):
        subprocess.run(
            [require("curl"), "-fsS", f"{stage.url}/cli/seqpulse.py", "-o", "seqpulse.py"],
            cwd=stage.directory,
            check=True,
        )
        line = [sys.executable, "seqpulse.py"]
        for part in ([*line, "trigger"], ["sh", "deploy.sh"], [*line, "finish", "success"]):
            subprocess.run(part, cwd=stage.directory, env=env, check=True)
    with recording.step("until the verdict"):
        waited = subprocess.run(
            [*line, "wait"], cwd=stage.directory, env=env, check=False, capture_output=True, text=True
        )
    print(waited.stdout)
    [page] = set(re.findall(r"http://\S+/dashboard/deployments/\S+", waited.stdout + waited.stderr))
    return str(page)


def prometheus_way(one: Newcomer, stage: Stage, recording: Recording) -> None:
    with recording.step("sign in"):
        sign_in(one, stage)
    with recording.step("make the project, see its key"):
        key = make_project(one, stage, "shop")
    recording.show(one.page, "choose")
    with recording.step("choose Prometheus, enter its address, find the service"):
        one.click("link", "Prometheus")
        one.write("Address", stage.prometheus)
        one.write("Seconds between two scrapes", str(SCRAPE_S))
        one.click("button", "Find services and expressions")
        one.see("What it knows")
        one.bring("What it knows")
    recording.show(one.page, "found")
    with recording.step("use what it found, test it, keep it"):
        one.click("button", "Use these expressions", exact=False)
        one.click("button", "Test")
        one.see("A sample would be stored")
        one.bring("A sample would be stored")
        recording.show(one.page, "tested")
        one.click("button", "Add the source")
        one.see("Not asked yet.")
    page = deploy(stage, key, recording, "slow")
    with recording.step("look at the verdict"):
        one.page.goto(page)
        one.page.wait_for_timeout(READING_S * 1000)
    recording.show(one.page, "verdict")


def check_way(one: Newcomer, stage: Stage, recording: Recording) -> None:
    """Go the way of somebody who has nothing but a URL. The account is there."""
    with recording.step("make the project, see its key"):
        key = make_project(one, stage, "front page")
    with recording.step("choose the check, enter the URL and a text of its page, test it, keep it"):
        one.click("link", capfirst(str(source_label("check"))))
        one.write("Address of the service", f"http://127.0.0.1:{stage.shop}")
        one.write("Further settings (TOML)", '[[steps]]\nurl = "/"\n\n[steps.expect]\ntext = "Welcome"\n')
        one.click("button", "Test")
        one.see("A sample would be stored")
        one.bring("A sample would be stored")
        recording.show(one.page, "check")
        one.click("button", "Add the source")
        one.see("Not asked yet.")
    page = deploy(stage, key, recording, "broken")
    with recording.step("look at the verdict"):
        one.page.goto(page)
        one.page.wait_for_timeout(READING_S * 1000)
    recording.show(one.page, "check-verdict")


def source_label(name: str) -> object:
    from metrics.sources import source_kind  # noqa: PLC0415  (models, which need the settings)

    kind = source_kind(name)
    return kind.label if kind else name


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources.quickstart", description=__doc__)
    parser.add_argument("--interval", type=int, default=10, help="seconds between two samples; a window has ten")
    parser.add_argument("--images", type=Path, help="where screenshots go; without it there are none")
    options = parser.parse_args()
    recording = Recording(options.images)
    with staged(recording, options.interval) as stage, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("chromium"), args=["--no-sandbox"])
        one = Newcomer(browser.new_page(viewport=SIZE, locale="en-GB", timezone_id="UTC"))  # type: ignore[arg-type]
        one.page.set_default_timeout(PATIENCE_MS)
        prepared = len(recording.rows)
        for name, way in (("with a Prometheus", prometheus_way), ("with nothing but a URL", check_way)):
            print(f"--- {name}")
            if way is check_way:
                # A good version again.
                stop_shop(stage.directory)
                time.sleep(1)
                start_shop(stage.directory, stage.shop)
                wait_for(f"http://127.0.0.1:{stage.shop}/")
            begun = time.monotonic()
            way(one, stage, recording)
            recording.rows.append({"step": f"= {name}", "s": time.monotonic() - begun})
        browser.close()
    print(f"(the first {prepared} steps are before the page)")
    print_table(recording.rows)


if __name__ == "__main__":
    main()
