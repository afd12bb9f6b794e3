"""Measure each page, call, claim and sweep at 1 %, 10 % and 100 % of a year at scale: `make bench-growth`.

Full size is 1 M deployments with verdicts and hints, 10 M samples, levels of 30 days (all that is kept) and 10,000
environments with a baseline every minute. `--scale 0.01` divides it by a hundred. Times are those of the CPU, of this
process and its PostgreSQL backend, for the second and later runs: they depend little on other load and on the disk.
"""

import argparse
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.poller.world import World
from benchmarks.report import percentile, print_json, print_table
from benchmarks.site import ROOT, bench_site

SHARES = (0.01, 0.1, 1.0)
# Of a database of full size with its write-ahead log, measured; and what has to stay free.
FULL_GB, SPARE_GB = 40, 10
# DEBUG serves static files without collecting them; its cost is not measured.
ENVIRONMENT = {"SEQPULSE_RATE_LIMITS": "off", "SEQPULSE_METRICS_TOKEN": secrets.token_urlsafe(32), "DEBUG": "on"}
# Growth from 1 % to 100 % by less than this, beyond that of the answer, is noise and the depth of an index.
CONSTANT = 2.0


def measure(share: float, options: argparse.Namespace) -> None:
    """Fill a database of this share of the full size, and print what was measured as one line of JSON."""
    os.environ.update(ENVIRONMENT)
    with bench_site(World) as site:
        from django.test import override_settings  # noqa: PLC0415  (needs the settings)

        from benchmarks.growth import cases, world  # noqa: PLC0415  (models, which need the settings)

        logging.disable(logging.CRITICAL)
        size = world.Size.of(share, level_days=options.level_days)
        started = time.perf_counter()
        key = world.fill(site, size, site.start_endpoint(0.05))
        figures: dict[str, Any] = {"environments": size.environments, "deployments": size.deployments}
        figures |= {"samples": size.minutes * size.environments, "levels": size.levels}
        figures["filled_in_s"] = time.perf_counter() - started
        figures |= cases.disk(site, size)
        rows = {}
        with override_settings(DEBUG=False, ALLOWED_HOSTS=["testserver"]):
            figures["claim_p50_ms"] = percentile(cases.claim(site), 0.5)
            for made in (cases.calls(key), cases.pages(), cases.sweeps()):
                for name, work in made:
                    rows[name] = cases.median_of(work, options.repetitions)
        if options.sustain:
            figures |= cases.sustained(site, options.sustain)
    print(json.dumps({"figures": figures, "rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the full size")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--level-days", type=int, default=30, help="days of levels")
    parser.add_argument("--sustain", type=float, default=60, help="seconds of baselines collected by a poller; 0: none")
    parser.add_argument("--share", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.share:
        measure(options.share, options)
        return
    free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    if free_gb < FULL_GB * options.scale + SPARE_GB:
        sys.exit(
            f"{free_gb:.0f} GB are free: too few for this scale. TMPDIR names another disk, --scale a smaller size."
        )
    found = []
    for share in SHARES:
        command = [sys.executable, "-m", "benchmarks.growth", *sys.argv[1:], "--share", str(share * options.scale)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{share:.0%} of {options.scale:g}: done", file=sys.stderr)
    names = [f"{share:.0%}" for share in SHARES]
    figures = [
        {"figure": name, **{column: one["figures"].get(name) for column, one in zip(names, found, strict=True)}}
        for name in found[-1]["figures"]
    ]
    rows = []
    for name in found[-1]["rows"]:
        times = [one["rows"][name][0] for one in found]
        sizes = [one["rows"][name][1] / 1000 for one in found]
        rows.append(
            {
                "case (CPU ms)": name,
                **dict(zip(names, times, strict=True)),
                "times": times[-1] / max(times[0], 0.1),
                "kB": sizes[-1],
                "kB times": sizes[-1] / sizes[0] if sizes[0] else 1.0,
            }
        )
    print_table(figures)
    print_table(rows)
    grown = [row["case (CPU ms)"] for row in rows if row["times"] > CONSTANT * max(1.0, row["kB times"])]
    print(f"grows more than {CONSTANT:g} times as fast as its answer: {', '.join(grown) or 'nothing'}")
    print_json("growth", rows, scale=options.scale, figures=figures)


if __name__ == "__main__":
    main()
