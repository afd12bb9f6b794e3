#!/usr/bin/env python
"""Django's command line for SeqPulse."""

import gc
import os
import sys


def main() -> None:
    gc.disable()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
    try:
        from seqpulse.command_line import run
    except ModuleNotFoundError as error:
        sys.exit(f"{error}. `make setup` installs what is missing; then use .venv/bin/python.")
    run(sys.argv)


if __name__ == "__main__":
    main()
