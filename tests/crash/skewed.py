"""Run a poller with a wrong clock: `python -m tests.crash.skewed SECONDS [OPTION…]`."""

import datetime
import os
import sys

import time_machine


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
    ahead = datetime.timedelta(seconds=float(sys.argv[1]))
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + ahead, tick=True):
        from django.core.management import execute_from_command_line  # noqa: PLC0415  (under the wrong clock)

        execute_from_command_line(["manage.py", "run_poller", *sys.argv[2:]])


if __name__ == "__main__":
    main()
