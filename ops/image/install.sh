#!/bin/sh
# The dependencies, exactly the locked ones, into the virtual environment $VIRTUAL_ENV.
set -eu
python3 -m venv "$VIRTUAL_ENV"
"$VIRTUAL_ENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --no-input --require-hashes \
    --requirement requirements/base.txt
