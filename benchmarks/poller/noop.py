"""Run a poller with a no-op job kind: the cost of the scheduler itself."""

import sys
from typing import Any

import django
from django.core.management import call_command


def main() -> None:
    django.setup()
    from scheduler.registry import Job, job_kind  # noqa: PLC0415  (needs the settings)

    @job_kind("noop")
    async def noop(job: Job, prepared: Any) -> None:
        pass

    call_command("run_poller", *sys.argv[1:])


if __name__ == "__main__":
    main()
