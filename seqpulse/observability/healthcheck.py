"""Tell a container runtime whether its process works: `python -m seqpulse.observability.healthcheck web|poller`.

Exit code 0: it does.

Without Django, because it runs every few seconds. A web server is healthy while it answers. The database is checked by
/health: restarting the web server would not repair it.
"""

import http.client
import os
import socket
import sys

import psycopg

TIMEOUT_S = 4
# Like scheduler.models.HEARTBEAT_STALE_AFTER. While nothing can be written no poller is restarted for its silence: it
# would lose what it has measured.
FRESH = """
SELECT 1 FROM pollers WHERE host = %s AND (heartbeat_at > now() - interval '30 seconds'
    OR current_setting('transaction_read_only')::boolean) LIMIT 1
"""


def allowed_host(setting: str) -> str:
    """Return a host name that the web server accepts, from ALLOWED_HOSTS."""
    first = setting.split(",", maxsplit=1)[0].strip()
    if first in ("", "*"):
        return "localhost"
    return f"health{first}" if first.startswith(".") else first


def web_is_well() -> bool:
    """Return whether the web server of this container answers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/live", headers={"Host": allowed_host(os.environ.get("ALLOWED_HOSTS", ""))})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def poller_is_well() -> bool:
    """Return whether a poller of this container has a recent heartbeat."""
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=TIMEOUT_S) as link:
            return link.execute(FRESH, [socket.gethostname()]).fetchone() is not None
    except (KeyError, psycopg.Error):
        return False


CHECKS = {"web": web_is_well, "poller": poller_is_well}


def main(arguments: list[str]) -> int:
    """Return 0: healthy, 1: not healthy, 2: wrong arguments."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write("usage: python -m seqpulse.observability.healthcheck web|poller\n")
        return 2
    return 0 if CHECKS[arguments[0]]() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
