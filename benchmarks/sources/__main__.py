"""Run `python -m benchmarks.sources [PART …]`: all parts, or those that are named."""

import argparse
import subprocess
import sys

# Each a module with a main() of its own, run in a process of its own.
PARTS = ("scrape", "journeys", "load", "before", "storage", "backfill", "push", "alerts", "quickstart")


def main() -> int:
    """Run the parts one after the other; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parts = parser.parse_args().parts or PARTS
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    failed = 0
    for part in parts:
        print(f"--- {part}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.sources.{part}"], check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
