"""Convert errors of the operating system to facts, by number: messages differ between systems."""

import errno
import socket

from explain.facts import Fact

CONNECTING = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_reset",
    errno.ETIMEDOUT: "connection_timed_out",
    errno.ENETUNREACH: "network_unreachable",
    errno.EHOSTUNREACH: "host_unreachable",
    errno.EMFILE: "too_many_files",
    errno.ENFILE: "too_many_files",
}
LOOK_UP = {
    socket.EAI_NONAME: "name_unknown",
    socket.EAI_AGAIN: "name_server_failed",
    socket.EAI_NODATA: "name_without_address",
}


def problem_of(error: OSError) -> Fact:
    """Return the fact of a failed socket call or look-up; unknown numbers carry the system's message."""
    look_up = isinstance(error, socket.gaierror)
    code = (LOOK_UP if look_up else CONNECTING).get(error.errno or 0)
    if code is None and error.strerror:
        return Fact("system_error", {"text": error.strerror})
    return Fact(code or ("look_up_failed" if look_up else "connection_failed"))
