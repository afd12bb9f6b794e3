#!/bin/sh
# Static files into $SEQPULSE_STATIC_ROOT. The keys are for this command only and open nothing; without them, and
# without a DATABASE_URL, keys would be generated into the image, the same ones for whoever has it.
set -eu
SECRET_KEY=build SEQPULSE_ENCRYPTION_KEYS=build DATABASE_URL=postgres://build/build \
    "$VIRTUAL_ENV/bin/python" manage.py collectstatic --noinput --verbosity 0
