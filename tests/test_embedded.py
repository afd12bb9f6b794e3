"""The embedded PostgreSQL with real servers: stale process ids, reused directories, signals, permissions."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from seqpulse.devserver import embedded
from seqpulse.devserver.embedded_account import account_for
from tests.processes import wait_for

pytestmark = pytest.mark.integration
as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: PostgreSQL then runs as another account")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQPULSE_EMBEDDED_FAST", "1")


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """Yield a data directory with a cluster, which tests copy so that initdb runs once."""
    with tempfile.TemporaryDirectory(prefix="embedded-") as folder:
        data_dir = Path(folder) / "template"
        os.environ["SEQPULSE_EMBEDDED_FAST"] = "1"
        embedded.start(data_dir)
        embedded.stop(data_dir)
        yield data_dir


@pytest.fixture
def new_data_dir(initialised: Path, server_dir: Path) -> Iterator[Callable[..., Path]]:
    """Yield a function that creates data directories with a stopped server; stop their servers afterwards."""

    def make(name: str = "var") -> Path:
        data_dir = server_dir / name
        shutil.copytree(initialised, data_dir)
        give(data_dir / "postgres", (initialised / "postgres").stat().st_uid)
        return data_dir

    yield make
    for data_dir in server_dir.iterdir():
        embedded.stop(data_dir)
        socket_dir = socket_dir_of(data_dir)
        if socket_dir.exists() and socket_dir.parent != data_dir:
            socket_dir.rmdir()


def socket_dir_of(data_dir: Path) -> Path:
    return Path(embedded.dsn_parameters(data_dir)["HOST"])


def give(directory: Path, user: int) -> None:
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user, -1)


@pytest.fixture
def data_dir(new_data_dir: Callable[..., Path]) -> Path:
    return new_data_dir()


def one(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def kill_server(data_dir: Path) -> None:
    os.kill(server_pid(data_dir), signal.SIGKILL)
    wait_for(lambda: not embedded.is_running(data_dir), "the server to end", 10)


def write_pid_files_of_another_process(data_dir: Path, pid: int) -> None:
    """Write lock files as after a reboot: their process id belongs to another process."""
    pid_file = data_dir / "postgres" / "postmaster.pid"
    status = (data_dir / "postgres").stat()
    socket_dir = socket_dir_of(data_dir)
    pid_file.write_text(f"{pid}\n{data_dir / 'postgres'}\n1700000000\n5432\n{socket_dir}\n\n   123 456\nready   \n")
    socket_lock = socket_dir / ".s.PGSQL.5432.lock"
    socket_lock.write_text(f"{pid}\n{data_dir / 'postgres'}\n1700000000\n5432\n{socket_dir}\n\n")
    for path in (pid_file, socket_lock):
        os.chown(path, status.st_uid, status.st_gid)
        path.chmod(0o600)


def test_a_new_directory_gets_a_server_with_our_database(server_dir: Path) -> None:
    data_dir = server_dir / "not" / "there yet"
    assert embedded.start(data_dir)
    try:
        parameters = embedded.dsn_parameters(data_dir)
        with psycopg.connect(
            host=parameters["HOST"], port=parameters["PORT"], user=parameters["USER"], dbname=parameters["NAME"]
        ) as connection:
            settings = connection.execute(
                "SELECT current_setting('jit'), current_setting('max_connections')::int,"
                " current_setting('listen_addresses'), pg_encoding_to_char(encoding)"
                " FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        assert settings == ("off", 200, "", "UTF8")
    finally:
        assert embedded.stop(data_dir)


def test_settings_are_durable_unless_asked_for_speed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(embedded.ensure_running(data_dir), "SHOW fsync") == "off"
    embedded.stop(data_dir)
    monkeypatch.delenv("SEQPULSE_EMBEDDED_FAST")
    assert one(embedded.ensure_running(data_dir), "SHOW fsync") == "on"


def test_a_second_start_finds_the_first_server(data_dir: Path) -> None:
    assert embedded.start(data_dir)
    pid = server_pid(data_dir)
    assert not embedded.start(data_dir)
    assert server_pid(data_dir) == pid


def test_stop_stops_and_says_whether_there_was_anything_to_stop(data_dir: Path, tmp_path: Path) -> None:
    embedded.start(data_dir)
    assert embedded.stop(data_dir)
    assert not embedded.is_running(data_dir)
    assert not embedded.stop(data_dir)
    assert not embedded.stop(tmp_path / "never-made")
    assert not (tmp_path / "never-made").exists()


def test_reading_parameters_starts_and_creates_nothing(tmp_path: Path) -> None:
    assert embedded.dsn_parameters(tmp_path / "var")["NAME"] == "seqpulse"
    assert not embedded.is_running(tmp_path / "var")
    assert list(tmp_path.iterdir()) == []


def test_processes_starting_at_once_share_one_server(data_dir: Path) -> None:
    command = [sys.executable, "-m", "seqpulse.devserver.embedded", "start", "--data-dir", str(data_dir)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert sorted(stderr.strip() for _, stderr in outputs) == ["already running"] * 3 + ["started"]
    assert len({stdout for stdout, _ in outputs}) == 1


def test_the_server_outlives_the_killed_process_group_that_started_it(data_dir: Path) -> None:
    script = "import pathlib, sys, time; from seqpulse.devserver import embedded"
    script += "; embedded.start(pathlib.Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        os.killpg(starter.pid, signal.SIGKILL)
    assert one(embedded.url(data_dir), "SELECT 1") == 1


def test_a_killed_server_recovers_with_its_data(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQPULSE_EMBEDDED_FAST")
    with psycopg.connect(embedded.ensure_running(data_dir)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    kill_server(data_dir)
    assert one(embedded.ensure_running(data_dir), "SELECT answer FROM kept") == 42


def test_a_server_killed_under_its_clients_is_started_again(data_dir: Path) -> None:
    server = embedded.ensure_running(data_dir)
    clients = [psycopg.connect(server) for _ in range(3)]
    try:
        clients[0].execute("CREATE TABLE unfinished (id int)")
        kill_server(data_dir)
        assert one(embedded.ensure_running(data_dir), "SELECT to_regclass('unfinished')") is None
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    """Yield another process, and check that it still runs afterwards."""
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        try:
            yield process
            assert process.poll() is None
        finally:
            process.kill()


def test_pid_files_that_name_an_innocent_process_do_not_prevent_a_start(
    data_dir: Path, innocent: subprocess.Popen[bytes]
) -> None:
    write_pid_files_of_another_process(data_dir, innocent.pid)
    assert embedded.start(data_dir)
    assert one(embedded.url(data_dir), "SELECT 1") == 1


def test_stop_does_not_touch_the_innocent_process_in_a_stale_pid_file(
    data_dir: Path, innocent: subprocess.Popen[bytes]
) -> None:
    write_pid_files_of_another_process(data_dir, innocent.pid)
    assert not embedded.stop(data_dir)


def test_another_servers_process_in_the_pid_file_is_not_taken_for_ours(new_data_dir: Callable[..., Path]) -> None:
    first, second = new_data_dir("first"), new_data_dir("second")
    embedded.start(first)
    write_pid_files_of_another_process(second, server_pid(first))
    assert embedded.start(second)
    assert server_pid(first) != server_pid(second)
    assert embedded.is_running(first)


def test_a_broken_pid_file_does_not_prevent_a_start(data_dir: Path) -> None:
    (data_dir / "postgres" / "postmaster.pid").write_text("\x00garbage")
    assert embedded.start(data_dir)


def test_a_server_without_its_socket_is_replaced(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "UNRESPONSIVE_AFTER_S", 0.3)
    embedded.start(data_dir)
    pid = server_pid(data_dir)
    (data_dir / "postgres" / ".s.PGSQL.5432").unlink()
    assert one(embedded.ensure_running(data_dir), "SELECT 1") == 1
    assert server_pid(data_dir) != pid


@pytest.mark.parametrize("name", ["long" * 30, "a,comma", 'it\'s $HOME `id` "quoted"'])
def test_awkward_paths_get_a_private_socket_directory(new_data_dir: Callable[..., Path], name: str) -> None:
    data_dir = new_data_dir(name)
    assert one(embedded.ensure_running(data_dir), "SELECT 1") == 1
    socket_dir = socket_dir_of(data_dir)
    assert socket_dir != data_dir / "postgres"
    assert socket_dir.stat().st_mode & 0o777 == 0o700
    assert socket_dir.stat().st_uid == (data_dir / "postgres").stat().st_uid


def test_a_socket_directory_that_others_may_enter_is_refused(new_data_dir: Callable[..., Path]) -> None:
    data_dir = new_data_dir("long" * 30)
    socket_dir_of(data_dir).mkdir()
    socket_dir_of(data_dir).chmod(0o777)
    with pytest.raises(embedded.EmbeddedError, match="mode 0700"):
        embedded.start(data_dir)


def test_a_start_after_the_directory_was_deleted_under_a_running_server(new_data_dir: Callable[..., Path]) -> None:
    data_dir = new_data_dir("long" * 30)
    embedded.start(data_dir)
    shutil.rmtree(data_dir)
    new_data_dir("long" * 30)
    assert embedded.start(data_dir)
    assert one(embedded.url(data_dir), "SELECT 1") == 1


def test_a_kill_in_the_middle_of_initialising_leaves_nothing_that_blocks(server_dir: Path) -> None:
    data_dir = server_dir / "var"
    half = data_dir / "postgres.initializing"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert embedded.start(data_dir)
    embedded.stop(data_dir)


def test_a_directory_of_another_major_version_is_refused_in_words(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(embedded.EmbeddedError, match="made by PostgreSQL 16"):
        embedded.start(data_dir)


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "var" / "postgres" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    if os.geteuid() == 0:
        account = account_for(None)
        os.chown(precious.parent, account.uid, account.gid)
    with pytest.raises(embedded.EmbeddedError, match="not empty"):
        embedded.start(tmp_path / "var")
    assert precious.read_text() == "mine"


def test_a_server_that_cannot_start_is_reported_with_its_own_words(data_dir: Path) -> None:
    (data_dir / "postgres" / "postgresql.conf").write_text("shared_buffers = 'nonsense'\nno_such_setting = 1\n")
    with pytest.raises(embedded.EmbeddedError, match="no_such_setting"):
        embedded.start(data_dir)


@as_root_only
def test_root_refuses_a_normal_users_directory_and_does_not_take_it_over(data_dir: Path) -> None:
    normal_user = 54321
    give(data_dir / "postgres", normal_user)
    with pytest.raises(embedded.EmbeddedError, match=f"belongs to the user {normal_user}"):
        embedded.start(data_dir)
    assert (data_dir / "postgres").stat().st_uid == normal_user


@as_root_only
def test_as_root_the_server_runs_as_another_account_and_opens_no_directory_to_others(server_dir: Path) -> None:
    closed = server_dir / "closed"
    closed.mkdir(mode=0o700)
    data_dir = closed / "var"
    embedded.start(data_dir)
    try:
        assert Path(f"/proc/{server_pid(data_dir)}").stat().st_uid != 0
        assert closed.stat().st_mode & 0o007 == 0
        assert (data_dir / "postgres").stat().st_mode & 0o777 == 0o700
        stranger = subprocess.run(
            ["/bin/ls", str(closed)], user=54321, group=54321, extra_groups=[], capture_output=True, check=False
        )
        assert stranger.returncode != 0
    finally:
        embedded.stop(data_dir)


def test_the_exit_code_of_the_command_is_the_state(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert embedded.main(["status", "--data-dir", str(data_dir)]) == 3
    assert embedded.main(["start", "--data-dir", str(data_dir)]) == 0
    assert embedded.main(["status", "--data-dir", str(data_dir)]) == 0
    capsys.readouterr()
    assert embedded.main(["url", "--data-dir", str(data_dir)]) == 0
    assert one(capsys.readouterr().out.strip(), "SELECT 1") == 1
    assert embedded.main(["stop", "--data-dir", str(data_dir)]) == 0


def test_no_client_reaches_a_server_that_its_last_user_stops(tmp_path: Path) -> None:
    came = threading.Event()

    def comes() -> None:
        with embedded.in_use(tmp_path):
            came.set()

    with embedded.in_use(tmp_path) as first_is_alone:
        with embedded.in_use(tmp_path):
            assert not first_is_alone()
        assert first_is_alone()
        next_one = threading.Thread(target=comes)
        next_one.start()
        assert not came.wait(0.3)
    next_one.join(10)
    assert came.is_set()
