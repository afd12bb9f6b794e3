"""Run a poller that sends one request per metric: what batched queries are compared with."""

import sys
from collections.abc import Mapping

import django
from django.core.management import call_command


def main() -> None:
    django.setup()
    from metrics.sources import prometheus  # noqa: PLC0415  (models, which need the settings)
    from metrics.sources.prometheus_api import BYTES, BYTES_PER_POINT, Answer, Api  # noqa: PLC0415

    class OneByOne(Api):
        async def ask(
            self, path: str, expressions: Mapping[str, str], asked: Mapping[str, str], points: int = 1
        ) -> dict[str, Answer]:
            return await self._separately(path, expressions, asked, BYTES + BYTES_PER_POINT * points)

    prometheus.Api = OneByOne  # type: ignore[attr-defined]  # what the source uses
    call_command("run_poller", *sys.argv[1:])


if __name__ == "__main__":
    main()
