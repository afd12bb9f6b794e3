"""Keys generated once into the data directory, for evaluation. Production sets its own."""

import fcntl
import json
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet

NAMES = ("SECRET_KEY", "SEQPULSE_ENCRYPTION_KEYS")


def generated_keys(data_dir: Path) -> dict[str, str]:
    """Return the keys in data_dir/keys.json, created on first use, readable by their owner only."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = data_dir / "keys.json"
        if path.exists():
            return {name: str(value) for name, value in json.loads(path.read_text()).items()}
        keys = {"SECRET_KEY": secrets.token_urlsafe(50), "SEQPULSE_ENCRYPTION_KEYS": Fernet.generate_key().decode()}
        partial = path.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(keys, out)
        partial.replace(path)
        return keys
