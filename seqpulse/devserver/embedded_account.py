"""The account of the embedded PostgreSQL, which refuses to run as root.

For other users the server runs as that user, and no permission changes.
"""

import errno
import os
import pwd
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The account of Debian's PostgreSQL package if it exists, else one created for SeqPulse.
SERVICE_ACCOUNTS = ("postgres", "seqpulse-postgres")

ACL_ATTRIBUTE = "system.posix_acl_access"
ACL_VERSION = 2
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
ACL_NO_ID = 0xFFFFFFFF
SEARCH = 1  # the x bit: pass through a directory, without listing it


class AccountError(Exception):
    """There is no account for the server, or it cannot enter the directory; the text gives the remedy."""


@dataclass(frozen=True)
class Account:
    """An account of the operating system. switch: whether a process must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    def subprocess_arguments(self) -> dict[str, Any]:
        """Return the arguments of `subprocess.run` that make the child run as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}


def user_name(uid: int) -> str:
    """Return the account's name, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def account_for(owner: int | None) -> Account:
    """Return the account to run as: the caller's own; for root a service account, `owner` (a user id) if it is one.

    Raises AccountError.
    """
    if os.geteuid() != 0:
        return Account(user_name(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    entries = [entry for entry in map(_entry, SERVICE_ACCOUNTS) if entry is not None]
    if not entries:
        entries = [_create(SERVICE_ACCOUNTS[-1])]
    entry = next((entry for entry in entries if entry.pw_uid == owner), entries[0])
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create(name: str) -> pwd.struct_passwd:
    advice = f"PostgreSQL does not run as root: run as another user, or create the account {name}, or set DATABASE_URL"
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise AccountError(f"{advice}.") from None
    entry = _entry(name)  # another process may have created it meanwhile
    if entry is None:
        raise AccountError(f"{advice} ({result.stderr.strip()}).")
    return entry


def grant_search(directory: Path, account: Account) -> None:
    """Grant `account` the missing search permissions on `directory` and its parents.

    Raises AccountError if that is impossible.
    """
    if not account.switch or _can_search(directory, account):
        return
    for path in (*reversed(directory.parents), directory):
        if not _can_search(path, account):
            _grant(path, account)
    if not _can_search(directory, account):
        raise AccountError(f"the account {account.name} cannot enter {directory}; a parent directory forbids it.")


def _can_search(directory: Path, account: Account) -> bool:
    command = ["test", "-x", str(directory)]
    return subprocess.run(command, check=False, cwd="/", **account.subprocess_arguments()).returncode == 0


def _grant(path: Path, account: Account) -> None:
    try:
        os.setxattr(path, ACL_ATTRIBUTE, _acl_with_search(path, account.uid))
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (
            errno.ENOTSUP,
            errno.EOPNOTSUPP,
            errno.ENOSYS,
            errno.EPERM,
        ):
            raise AccountError(f"the account {account.name} cannot be let into {path}: {error.strerror}") from error
        # Without access control lists, search permission for all users is the smallest possible grant.
        try:
            path.chmod(path.stat().st_mode & 0o7777 | 0o001)
        except OSError as failed:
            raise AccountError(f"the account {account.name} cannot be let into {path}: {failed.strerror}") from failed


def _acl_with_search(path: Path, uid: int) -> bytes:
    """Return the directory's access control list with search for `uid` added (layout: linux/posix_acl_xattr.h)."""
    try:
        raw = os.getxattr(path, ACL_ATTRIBUTE)
        entries = {(tag, who): bits for tag, bits, who in struct.iter_unpack("<HHI", raw[4:])}
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        mode = path.stat().st_mode
        entries = {
            (ACL_USER_OBJ, ACL_NO_ID): mode >> 6 & 7,
            (ACL_GROUP_OBJ, ACL_NO_ID): mode >> 3 & 7,
            (ACL_OTHER, ACL_NO_ID): mode & 7,
            (ACL_MASK, ACL_NO_ID): mode >> 3 & 7,
        }
    entries[ACL_USER, uid] = entries.get((ACL_USER, uid), 0) | SEARCH
    mask = (ACL_MASK, ACL_NO_ID)
    entries[mask] = entries.get(mask, entries[ACL_GROUP_OBJ, ACL_NO_ID]) | SEARCH
    packed = [struct.pack("<HHI", tag, bits, who) for (tag, who), bits in sorted(entries.items())]
    return struct.pack("<I", ACL_VERSION) + b"".join(packed)
