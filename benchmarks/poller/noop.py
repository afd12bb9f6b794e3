"""Run a poller with a no-op job kind: the cost of the scheduler itself."""

from __future__ import annotations

import os
import sys
from typing import Any


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from scheduler.registry import Job, job_kind  # noqa: PLC0415

    @job_kind("noop")
    async def noop(job: Job, prepared: Any) -> None:
        pass

    call_command("run_poller", *sys.argv[1:])


if __name__ == "__main__":
    main()
