#!/bin/sh
# The dependencies, exactly the locked ones, into the virtual environment $VIRTUAL_ENV. --no-deps: the lock file names all.
set -eu
python3 -m venv "$VIRTUAL_ENV"
"$VIRTUAL_ENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --no-input --require-hashes \
    --no-deps --requirement requirements/base.txt
"$VIRTUAL_ENV/bin/python" -m pip check --disable-pip-version-check
