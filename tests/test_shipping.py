"""Image, compose file and units: linted; the steps of the image run as an unprivileged user."""

import copy
import fnmatch
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import requests
import yaml
from cryptography.fernet import Fernet

from seqpulse import gunicorn_config
from seqpulse.devserver.embedded import url as embedded_url
from seqpulse.observability.healthcheck import allowed_host
from tests.processes import environment, free_port, live_installation, wait_for
from tests.system_tools import ROOT, output_of, require, run

pytestmark = pytest.mark.e2e

DOCKERFILE = ROOT / "Dockerfile"
UNITS = sorted((ROOT / "ops/systemd").glob("*.service"))
NOBODY = 65534


def only(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """Return the schema of a mapping with these keys and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def texts(pattern: str = "") -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "pattern": pattern}, "minItems": 1, "uniqueItems": True}


def by_name(schema: dict[str, Any], name: str = "^[a-zA-Z0-9._-]+$") -> dict[str, Any]:
    return {"type": "object", "patternProperties": {name: schema}, "additionalProperties": False}


# The part of the compose specification in use; no installed package has its schema. Other keys are refused.
DURATION = {"type": "string", "pattern": r"^([0-9]+(us|ms|s|m|h))+$"}
COMMAND = {"type": "array", "items": {"type": "string"}, "minItems": 1}
CONDITION = {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
HEALTHCHECK = only(
    test={"type": "array", "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}], "items": {"type": "string"}, "minItems": 2},
    disable={"type": "boolean"},
    retries={"type": "integer", "minimum": 1},
    **dict.fromkeys(("interval", "timeout", "start_period"), DURATION),
)
SERVICE = only(
    image={"type": "string", "pattern": "^[a-z0-9./_-]+:[A-Za-z0-9._-]+$"},
    build={"type": "string"},
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    init={"type": "boolean"},
    read_only={"type": "boolean"},
    cap_drop=texts("^[A-Z_]+$"),
    security_opt=texts(),
    tmpfs=texts("^/"),
    environment=by_name({"type": ["string", "integer"]}, "^[A-Z][A-Z0-9_]*$"),
    command=COMMAND,
    healthcheck=HEALTHCHECK,
    depends_on={"oneOf": [texts(), by_name(only(("condition",), condition=CONDITION, restart={"type": "boolean"}))]},
    ports=texts(r"^([0-9.]+:)?([0-9]+|\$\{[A-Z_]+:-[0-9]+\}):[0-9]+$"),
    volumes=texts("^(\\./)?[A-Za-z0-9_./-]+:/[A-Za-z0-9_./-]*(:ro|:rw)?$"),
    secrets=texts(),
    stop_grace_period=DURATION,
    shm_size={"type": "string", "pattern": "^[0-9]+[bkmg]$"},
    deploy=only(replicas={"type": "integer", "minimum": 1}),
)
COMPOSE = {
    **only(
        ("services",),
        name={"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        services=by_name(SERVICE),
        secrets=by_name(only(environment={"type": "string"}, file={"type": "string"})),
        volumes=by_name({"type": "null"}),
    ),
    # Fragments shared by services.
    "patternProperties": {"^x-": {}},
}


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile in order, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    output_of(hadolint, DOCKERFILE)


def test_the_image_runs_as_a_user_without_rights_and_checks_its_health() -> None:
    names = [name for name, _ in instructions()]
    assert of("USER") == ["10001:10001"]
    # From here on nothing runs as root.
    assert names.index("USER") < min(place for place, name in enumerate(names) if name == "COPY")
    assert len(of("HEALTHCHECK")) == 1


def test_no_secret_and_no_data_gets_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for path in (".git", ".env", ".venv", "var", "tests"):
        assert any(fnmatch.fnmatch(path, pattern) for pattern in ignored), path
    assert not [name for line in of("ENV") for name in ("SECRET_KEY=", "TOKEN=", "PASSWORD=", "KEYS=") if name in line]


def test_the_compose_file_keeps_to_the_form() -> None:
    jsonschema.Draft202012Validator(COMPOSE).validate(compose())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sevices",), {}),
        (("services", "web", "port"), ["127.0.0.1:80:80"]),
        (("services", "web", "ports"), [8000]),
        (("services", "web", "ports"), ["127.0.0.1:eighty:80"]),
        (("services", "web", "restart"), False),
        (("services", "web", "environment", "A"), ["list"]),
        (("services", "poller", "deploy", "replicas"), "2"),
        (("services", "poller", "healthcheck", "interval"), "15"),
        (("services", "poller", "healthcheck", "test"), ["python", "-m", "it"]),
        (("services", "poller", "healthcheck", "intervals"), "15s"),
        (("services", "poller", "depends_on"), {"migrate": {"condition": "service_ready"}}),
        (("services", "proxy", "depends_on"), {"web": {"condition": "service_started", "restart": "always"}}),
        (("services", "poller", "stop_grace_period"), 30),
        (("services", "grafana", "volumes"), ["grafana"]),
        (("services", "grafana", "volumes"), ["grafana:/var/lib/grafana:readonly"]),
        (("secrets", "metrics_token"), {"environ": "TOKEN"}),
        (("volumes", "postgres"), {"externally": True}),
    ],
)
def test_the_form_notices_what_is_wrong(path: tuple[str, ...], value: Any) -> None:
    changed = copy.deepcopy(compose())
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert not jsonschema.Draft202012Validator(COMPOSE).is_valid(changed)


def test_every_service_of_the_compose_file_can_start_in_order() -> None:
    whole = compose()
    services = whole["services"]
    started: list[str] = []
    while left := [name for name in services if name not in started]:
        ready = [name for name in left if all(other in started for other in services[name].get("depends_on", {}))]
        assert ready, f"these wait for each other or for what is not there: {left}"
        started += ready
    for name, service in services.items():
        assert ("image" in service) or ("build" in service), name
        needed = service.get("depends_on", {})
        for other, how in needed.items() if isinstance(needed, dict) else ():
            if how["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], (name, other)
            if how["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", (name, other)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in whole["volumes"], volume
        assert set(service.get("secrets", [])) <= set(whole["secrets"]), name
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert set(whole["volumes"]) <= used
    assert services["poller"]["deploy"]["replicas"] == 2
    assert {"postgres", "web", "poller", "prometheus", "grafana"} <= set(services)


def test_the_compose_file_holds_no_password_and_publishes_nothing_beyond_this_machine() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|TOKEN|DATABASE_URL", variable):
                assert re.search(r"\$\{[A-Z_]+:\?", str(value)), f"{name}: {variable} has to be asked for"


def test_prometheus_asks_the_web_server_under_a_name_that_it_answers_to() -> None:
    scrape = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    [target] = scrape["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    web = compose()["services"]["web"]
    assert host in web["environment"]["ALLOWED_HOSTS"].split(",")
    assert port == "8000"
    assert scrape["authorization"]["credentials_file"] == "/run/secrets/metrics_token"


def test_the_proxy_starts_again_with_the_web_server_whose_address_it_has_looked_up() -> None:
    assert compose()["services"]["proxy"]["depends_on"]["web"]["restart"] is True


def test_the_proxy_gives_up_idle_connections_before_the_web_server_does() -> None:
    upstream = re.search(r"upstream seqpulse \{.*?\n\}", (ROOT / "ops/nginx/seqpulse.conf").read_text(), re.DOTALL)
    assert upstream is not None
    [seconds] = re.findall(r"keepalive_timeout (\d+)s;", upstream[0])
    assert int(seconds) < gunicorn_config.keepalive


def test_grafana_finds_its_source_and_dashboards() -> None:
    sources = yaml.safe_load((ROOT / "ops/grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((ROOT / "ops/grafana/provisioning/dashboards/seqpulse.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in compose()["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    dashboards = [json.loads(path.read_text()) for path in (ROOT / "ops/grafana/dashboards").glob("*.json")]
    assert len({dashboard["uid"] for dashboard in dashboards}) == len(dashboards) == 2
    used = {panel["datasource"]["uid"] for dashboard in dashboards for panel in dashboard["panels"]}
    assert used == {source["uid"] for source in sources}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    analyze = require("systemd-analyze", "systemd")
    # The check looks for the programs, which are elsewhere here.
    text = unit.read_text().replace("/opt/seqpulse/.venv/bin/gunicorn", "/bin/true")
    text = text.replace("/opt/seqpulse/.venv/bin/python", "/bin/true").replace("file:/opt/seqpulse", "file:/opt")
    copy = tmp_path / unit.name.replace("@", "@1")
    copy.write_text(text)
    result = run(analyze, "verify", copy)
    about = [line for line in result.stderr.splitlines() if "seqpulse" in line]
    assert result.returncode == 0 and not about, result.stderr


@pytest.mark.parametrize(
    ("setting", "host"),
    [("", "localhost"), ("*", "localhost"), ("a.example,b", "a.example"), (".example", "health.example")],
)
def test_the_health_check_asks_under_a_name_that_is_allowed(setting: str, host: str) -> None:
    assert allowed_host(setting) == host


def test_a_pollers_health_check_knows_it_from_a_dead_one(tmp_path: Path) -> None:
    def check() -> int:
        command = [sys.executable, "-m", "seqpulse.observability.healthcheck", "poller"]
        return run(*command, env=installation.env).returncode

    with live_installation(tmp_path) as installation:
        assert check() == 1
        installation.start_poller()
        assert check() == 0
    # Its database is unreachable.
    assert check() == 1


@dataclass
class Image:
    """A directory in place of the image's file system, and its user."""

    root: Path
    user: int | None
    python: Path

    def moved(self, text: str) -> str:
        """Replace the directories of the image by those used here."""
        for path in ("/opt/seqpulse", "/srv/seqpulse", "/var/lib/seqpulse"):
            text = text.replace(path, f"{self.root}{path}")
        return text

    def environment(self) -> dict[str, str]:
        """Return the variables that the Dockerfile sets."""
        pairs = [pair.partition("=") for line in of("ENV") for pair in shlex.split(line)]
        return {name: self.moved(value) for name, _, value in pairs}

    def command(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run(*command, **self.where(env))

    def output(self, *command: str, **env: str) -> str:
        return output_of(*command, **self.where(env))

    def where(self, env: dict[str, str]) -> dict[str, Any]:
        return {"cwd": self.root / "app", "env": self.whole(env), "user": self.user}

    def whole(self, env: dict[str, str]) -> dict[str, str]:
        home = {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "home")}
        here = self.environment()
        here["PATH"] = f"{here['VIRTUAL_ENV']}/bin:{self.python.parent}:/usr/bin:/bin"
        return environment(**{**here, **home, **env})

    def program(self, name: str) -> str:
        """Return the path of a program in the image's PATH, which its parent process does not use."""
        return f"{self.environment()['VIRTUAL_ENV']}/bin/{name}"


def copied() -> Iterator[Path]:
    """Yield the files that COPY . . copies: everything not excluded by .dockerignore."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    tops = [pattern for pattern in ignored if not pattern.startswith("**/")]
    anywhere = {pattern.removeprefix("**/") for pattern in ignored if pattern.startswith("**/")}
    for directory, below, files in os.walk(ROOT):
        here = Path(directory).relative_to(ROOT)
        below[:] = [
            name
            for name in below
            if name not in anywhere and not any(fnmatch.fnmatch(str(here / name), pattern) for pattern in tops)
        ]
        for name in files:
            if not any(fnmatch.fnmatch(str(here / name), pattern) for pattern in tops):
                yield here / name


def python_for(user: int | None) -> Path:
    """Return a python3 that this user may run and that can create virtual environments: ours, else the system's."""
    for path in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        try:
            found = run(path, "-c", "import ensurepip, venv", user=user)
        except OSError:
            continue
        if found.returncode == 0 and (path.parent / "python3").exists():
            return path
    pytest.fail("no python3 with venv for a user without rights: apt-get install python3-venv")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Create the directories of the Dockerfile's first RUN, and code that the service's user cannot write."""
    if os.geteuid() == 0:
        # The temporary directories of tests are accessible to their owner only.
        root = Path("/var/tmp") / f"seqpulse-image-{secrets.token_hex(4)}"  # noqa: S108
    else:
        root = tmp_path_factory.mktemp("image")
    user = NOBODY if os.geteuid() == 0 else None
    made = Image(root, user, python_for(user))
    for path in ("opt/seqpulse", "srv/seqpulse", "var/lib/seqpulse", "home"):
        (root / path).mkdir(parents=True)
        if made.user is not None:
            os.chown(root / path, made.user, made.user)
    for file in copied():
        (root / "app" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, root / "app" / file)
    yield made
    shutil.rmtree(root)


@contextmanager
def own_server(image: Image) -> Iterator[str]:
    """Yield an embedded PostgreSQL that runs as the unprivileged user."""
    directory = image.root / "home/database"
    server = {"SEQPULSE_DATA_DIR": str(directory), "SEQPULSE_EMBEDDED_FAST": "1"}
    image.output(image.program("python"), "-m", "seqpulse.devserver.embedded", "start", **server)
    try:
        yield embedded_url(directory)
    finally:
        image.command(image.program("python"), "-m", "seqpulse.devserver.embedded", "stop", **server)


def test_the_images_steps_work_for_a_user_without_rights_and_what_they_make_serves(image: Image) -> None:
    steps = [step for step in of("RUN") if step.startswith("sh ")]
    assert len(steps) == 2
    for step in steps:
        image.output(*shlex.split(step))
    assert not list(image.root.rglob("keys.json")), "keys were generated into the image"
    assert (image.root / "srv/seqpulse/static/staticfiles.json").exists()

    health = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    command = json.loads(of("CMD")[0])
    with own_server(image) as url:
        env = {
            "DATABASE_URL": url,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "SEQPULSE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "ALLOWED_HOSTS": "seqpulse.example",
            "SEQPULSE_BIND": "127.0.0.1",
        }
        migrate = [part for part in compose()["services"]["migrate"]["command"] if part != "python"]
        image.output(image.program("python"), *migrate, **env)
        # As late as possible: others may take a free port.
        env["PORT"] = port = str(free_port())
        processes = [
            subprocess.Popen(
                [image.program(program), *rest],
                **image.where(env),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for program, *rest in (command, compose()["services"]["poller"]["command"])
        ]
        try:
            check = [image.program(health[0]), *health[1:]]
            wait_for(lambda: image.command(*check, **env).returncode == 0, "the health check")
            site, headers = f"http://127.0.0.1:{port}", {"Host": "seqpulse.example"}

            def well() -> bool:
                health: dict[str, str] = requests.get(f"{site}/health", headers=headers, timeout=10).json()
                return health["status"] == "ok"

            wait_for(well, "web server and poller")
            manifest = json.loads((image.root / "srv/seqpulse/static/staticfiles.json").read_text())["paths"]
            style = next(path for name, path in manifest.items() if name.endswith(".css"))
            assert requests.get(f"{site}/static/{style}", headers=headers, timeout=10).ok
            with psycopg.connect(url) as link:
                assert link.execute("SELECT count(*) FROM pollers").fetchone() == (1,)
        finally:
            for process in processes:
                process.terminate()
            assert [process.wait(30) for process in processes] == [0, 0]
    assert not list((image.root / "app").rglob("*.pyc")), "something could write into the code"
