"""Settings of tests: those of production, without what only costs time."""

import os
from pathlib import Path

# A data directory of their own: a demo that is running must not be disturbed. conftest.py starts the server in it.
_VAR = Path(__file__).resolve().parent.parent / "var"
os.environ["SEQPULSE_DATA_DIR"] = os.environ.get("SEQPULSE_TEST_DATA_DIR") or str(_VAR / "test")
# Also with DATABASE_URL: tests need no configured keys, and the browser uses plain HTTP.
os.environ.setdefault("SEQPULSE_HTTPS", "off")
# Tests make hundreds of calls; tests of the limits switch them on.
os.environ.setdefault("SEQPULSE_RATE_LIMITS", "off")
# New projects have the shortest window; tests of installations without plans switch them off.
os.environ.setdefault("SEQPULSE_PLANS", "on")

from seqpulse.devserver.keys import generated_keys  # noqa: E402

for _name, _key in generated_keys(Path(os.environ["SEQPULSE_DATA_DIR"])).items():
    os.environ.setdefault(_name, _key)

from seqpulse.settings import *  # noqa: E402, F403
from seqpulse.settings import STORAGES  # noqa: E402

STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
