"""The connections of both clients, through the operators' proxy instead of to the host."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pycurl

from explain.facts import Fact
from outbound.addresses import AllowList
from outbound.endpoints import Endpoint
from outbound.proxy import LOOK_UP_S, Proxy, check_target, check_unresolved, look_up_problem
from outbound.resolver import addresses_of
from outbound.system_errors import problem_of
from outbound.transfer import BROKEN_CODES, E_TOO_LARGE, Limits, OutboundError, Response, Transfer, Waiting, shown
from outbound.wire import Transport, Wire

# CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not define.
_SUPPRESS_CONNECT_HEADERS = 265
# Of the answer to a request for a tunnel.
_MOST_HEAD_BYTES = 16 * 1024


class ProxiedTransfer(Transfer):
    """A transfer through the proxy: the addresses it is pinned to are those of the proxy."""

    def __init__(self, proxy: Proxy, *arguments: Any, **options: Any) -> None:
        self._proxy = proxy
        super().__init__(*arguments, **options)
        self.easy.setopt(pycurl.PROXY, f"http://{proxy.authority}")
        self.easy.setopt(pycurl.NOPROXY, "")
        self.easy.setopt(pycurl.USERAGENT, "SeqPulse")  # of the request for a tunnel
        self.easy.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        if proxy.authorization:
            self.easy.setopt(pycurl.PROXYUSERNAME, proxy.user)
            self.easy.setopt(pycurl.PROXYPASSWORD, proxy.password)

    def outcome(self) -> Response | OutboundError:
        result = super().outcome()
        if not isinstance(result, Response):
            return result
        if result.status == 407 and self._endpoint.scheme == "http":  # of a proxy only (RFC 9110, 15.5.8)
            return self._proxy.refused(407)
        return result._replace(remote_ip=self.target_ip)

    def excess(self) -> OutboundError | None:
        error = super().excess()
        if error is None or self._reached():
            return error
        return self._proxy.failed(Fact("large_answer", {"bytes": self._limits.max_wire_bytes}))

    def _pin(self, endpoint: Endpoint, addresses: tuple[str, ...]) -> None:
        super()._pin(self._proxy.endpoint, addresses)

    def _refusal_of(self, _address: str) -> Fact | None:
        """Return None: libcurl connects to the proxy alone, which the operators chose."""

    def _stopped_by_us(self, code: int) -> OutboundError | None:
        # Before the proxy has connected, libcurl's limits are exceeded by its own answer.
        return super()._stopped_by_us(code) if self._reached(code) or self._open_error is not None else None

    def _failed_there(self, code: int, text: str) -> OutboundError:
        if self._reached(code):
            return super()._failed_there(code, text)
        status = self.easy.getinfo(pycurl.HTTP_CONNECTCODE)
        if status and status // 100 != 2:
            return self._proxy.refused(status)
        if code == pycurl.E_COULDNT_CONNECT:
            number = self.easy.getinfo(pycurl.OS_ERRNO)
            return self._proxy.failed(problem_of(OSError(number, os.strerror(number)) if number else OSError()))
        if code in BROKEN_CODES:
            return self._proxy.failed(Fact(BROKEN_CODES[code]))
        return self._proxy.failed(Fact("libcurl_error", {"text": shown(text), "number": code}))

    def _phase(self) -> Waiting:
        return super()._phase() if self._reached() else "proxy"

    def _reached(self, code: int = 0) -> bool:
        """Return whether the proxy has connected to the host, or, without a tunnel, has got the request.

        code: libcurl's error. Headers can only be too large once the request is sent, except those of the proxy.
        """
        return self._sent or (code != E_TOO_LARGE and self.easy.getinfo(pycurl.HTTP_CONNECTCODE) // 100 == 2)


class ProxiedWire(Wire):
    """A connection to the proxy, with a tunnel to the host where the request is encrypted."""

    def __init__(self, endpoint: Endpoint, limits: Limits, proxy: Proxy) -> None:
        super().__init__(endpoint, limits)
        self._proxy = proxy

    @property
    def target(self) -> str:
        return self.endpoint.url if self.endpoint.scheme == "http" else super().target

    @property
    def headers(self) -> Mapping[str, str]:
        return self._proxy.authorization if self.endpoint.scheme == "http" else {}

    def connect(self, allow: AllowList) -> None:
        """Connect to the proxy, if a request may go to all addresses of the host. Raises OutboundError."""
        checked = self._checked(allow)
        self.waiting = "proxy"
        proxy = self._proxy.endpoint
        try:
            self._socket = self._connected(list(addresses_of(proxy, self._left_s())), proxy.port)
        except TimeoutError:
            raise self._timed_out() from None
        except OSError as error:
            raise self._proxy.failed(problem_of(error)) from None
        except OutboundError as error:
            problem = error.fact.params.get("problem")
            if error.code != "refused" or not isinstance(problem, Fact):
                raise
            raise self._proxy.failed(problem) from None
        self.remote_ip = checked[0] if checked else ""

    def encrypted(self, ca_pem: bytes = b"") -> Transport:
        self._open_tunnel()
        return super().encrypted(ca_pem)

    def check_status(self, status: int) -> None:
        if status == 407 and self.endpoint.scheme == "http":
            raise self._proxy.refused(407)

    def _checked(self, allow: AllowList) -> tuple[str, ...]:
        """Return the addresses of the host, all of which may be called; none if it is listed and not resolved here."""
        patience_s = min(LOOK_UP_S, self._left_s())
        try:
            addresses = addresses_of(self.endpoint, patience_s)
        except OSError as error:  # TimeoutError, too
            if patience_s < LOOK_UP_S and isinstance(error, TimeoutError):
                raise self._timed_out() from None
            check_unresolved(self.endpoint, look_up_problem(error), allow)
            return ()
        check_target(self.endpoint, addresses, allow)
        if not self.endpoint.needs_look_up and len(addresses) == 1:
            # The proxy might read 010.0.0.1 in another way.
            self.endpoint = replace(self.endpoint, host=addresses[0])
        return addresses

    def _open_tunnel(self) -> None:
        to = self.endpoint.authority
        fields = {"Host": to, "User-Agent": "SeqPulse", **self._proxy.authorization}
        lines = [f"CONNECT {to} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        head = b""
        try:
            self.sendall("\r\n".join(lines).encode("ascii"))
            while b"\r\n\r\n" not in head:
                data = self.recv(4096)
                head += data
                if not data:
                    raise self._proxy.failed(Fact("closed_unanswered"))
                if len(head) > _MOST_HEAD_BYTES:
                    raise self._proxy.failed(Fact("large_headers", {"bytes": _MOST_HEAD_BYTES}))
        except OSError:
            raise self._proxy.failed(Fact("broken_receiving")) from None
        status = re.match(rb"HTTP/1\.[01] ([0-9]{3})[ \r]", head)
        if status is None or (not head.endswith(b"\r\n\r\n") and status[1].startswith(b"2")):
            raise self._proxy.failed(Fact("not_http"))
        if not status[1].startswith(b"2"):
            raise self._proxy.refused(int(status[1]))
