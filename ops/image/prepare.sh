#!/bin/sh
# Collect static files into $SEQPULSE_STATIC_ROOT. The keys are for this command only; without them, and without a
# DATABASE_URL, keys would be generated into the image, shared by all its users.
set -eu
SECRET_KEY=build SEQPULSE_ENCRYPTION_KEYS=build DATABASE_URL=postgres://build/build \
    "$VIRTUAL_ENV/bin/python" manage.py collectstatic --noinput --verbosity 0
