#!/usr/bin/env python
"""Django's command line for SeqPulse."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
    try:
        from seqpulse.command_line import run
    except ModuleNotFoundError as error:
        sys.exit(f"{error}. `make setup` installs what is missing; then use .venv/bin/python.")
    run(sys.argv)


if __name__ == "__main__":
    main()
