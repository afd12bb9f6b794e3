"""Templates of facts about failed requests."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register
from explain.languages import Language
from explain.units import with_unit

KIB, BYTES = _("{n} KiB"), _("{n} bytes")


def size(count: float, language: Language) -> str:
    """Write a number of bytes: 300 bytes, 64 KiB."""
    template, count = (KIB, count / 1024) if count >= 1024 else (BYTES, count)
    return with_unit(template, f"{count:.0f}", language)


FAILURES = {
    "blocked": _(
        "{host} may not be called: {problem}. An operator can let it through with SEQPULSE_OUTBOUND_ALLOW. It takes "
        "networks and names, and is set before SeqPulse starts: SEQPULSE_OUTBOUND_ALLOW=127.0.0.0/8,10.0.0.0/8 make run"
    ),
    "blocked_at_entry": _(
        "{host} may not be called: {problem}. Ask the operator of SeqPulse to start it with "
        "SEQPULSE_OUTBOUND_ALLOW={allow}"
    ),
    "dns": _("the name {host} could not be resolved: {problem}"),
    "refused": _("could not connect to {host}: {problem}"),
    "timeout": _("no complete answer from {host} within {seconds:number} s ({phase:waiting})"),
    "tls": _("no secure connection to {host}: “{text}”"),
    "too_large": _("no usable answer from {host}: {problem}"),
    "protocol": _("no usable answer from {host}: {problem}"),
    "proxy": _("no answer through the outbound proxy {host}: {problem}"),
    "other": _("{problem}"),
}

WAITING = {
    "waiting.place": _("while waiting for its turn: too many requests under way"),
    "waiting.name": _("while resolving the name"),
    "waiting.connection": _("while connecting"),
    "waiting.encryption": _("while agreeing on encryption"),
    "waiting.proxy": _("while waiting for the outbound proxy"),
    "waiting.answer": _("no answer"),
    "waiting.rest": _("the answer was not complete"),
    "waiting.previous_secret": _("no time was left to try the previous HMAC secret after it refused the new one"),
}

PROBLEMS = {
    "not_http": _("the answer is not HTTP"),
    "closed_unanswered": _("the connection was closed without an answer"),
    "broken_sending": _("the connection broke while the request was being sent"),
    "broken_receiving": _("the connection broke before the answer was complete"),
    "closed_early": _("the connection was closed before the answer was complete"),
    "bad_encoding": _("the answer's encoding is broken"),
    "unwanted_encoding": _("it sent the encoding {encoding} although none was asked for"),
    "large_body": _("it sent a body of more than {bytes:size}"),
    "large_headers": _("it sent headers of more than {bytes:size}"),
    "large_answer": _("it sent more than {bytes:size} in all, whatever they are for"),
    "many_headers": _("it sent more than {n} headers"),
    "many_pieces": _("it sent its answer in too many small pieces"),
    "libcurl_error": _("“{text}” (libcurl error {number})"),
    "no_socket": _("no connection to {host} could be opened: {problem}"),
    "proxy_credentials": _("it refuses the credentials of SEQPULSE_OUTBOUND_PROXY (407)"),
    "proxy_status": _("it refuses to connect to the host ({status})"),
    "unresolved_for_proxy": _(
        "{problem}; it is left to the outbound proxy to resolve only names that SEQPULSE_OUTBOUND_ALLOW lists"
    ),
    "shutting_down": _("the program is shutting down"),
}

# Errors of the operating system, by number (outbound/system_errors.py).
SYSTEM = {
    "connection_refused": _("connection refused"),
    "connection_reset": _("connection reset by peer"),
    "connection_timed_out": _("connection timed out"),
    "network_unreachable": _("network is unreachable"),
    "host_unreachable": _("no route to host"),
    "too_many_files": _("too many open files"),
    "connection_failed": _("the connection failed"),
    "name_unknown": _("name or service not known"),
    "name_server_failed": _("temporary failure in name resolution"),
    "name_without_address": _("no address associated with hostname"),
    "name_without_service": _("it has no SRV records"),
    "too_many_targets": _("it has {n} instances, and at most {most} are asked"),
    "look_up_failed": _("look-up failed"),
    "system_error": _("“{text}”"),
}

ADDRESSES = {
    "no_ip_address": _("{address} is not an IP address"),
    "no_internet_address": _("it is not an internet address"),
    "forbidden_address": _("{address} is {kind:address}"),
    "address.metadata": _("a cloud metadata address"),
    "address.link_local": _("a link-local address"),
    "address.unspecified": _("an unspecified address"),
    "address.private": _("a private address"),
    "address.carrier_grade_nat": _("a carrier-grade NAT address"),
    "address.loopback": _("a loopback address"),
    "address.reserved": _("a reserved address"),
    "address.documentation": _("a documentation address"),
    "address.6to4_relay": _("a 6to4 relay address"),
    "address.benchmarking": _("a benchmarking address"),
    "address.multicast": _("a multicast address"),
    "address.ipv4_mapped": _("an IPv4-mapped address"),
    "address.ipv4_compatible": _("an IPv4-compatible address"),
    "address.nat64": _("a NAT64 address"),
    "address.teredo": _("a Teredo address"),
    "address.6to4": _("a 6to4 address"),
    "address.isatap": _("an ISATAP address"),
    "address.anycast_relay": _("the address of a public relay"),
    "address.as112": _("an address of AS112, which answers for private networks"),
    "address.site_local": _("a site-local address"),
    "address.not_public": _("not a public address"),
}

URLS = {
    "url_too_long": _("The URL is {length} characters long; {most} are allowed."),
    "url_character": _("The URL contains the character U+{number}, which no URL may contain."),
    "url_not_absolute": _("The URL is not absolute: it must start with http:// or https:// and name a host."),
    "url_scheme": _("The URL's scheme is {scheme}; only http and https are allowed."),
    "url_fragment": _("The URL has a fragment (#...), which is never sent: leave it out."),
    "url_credentials": _("The URL contains a user name or password: leave them out."),
    "url_authority": _("The URL's host and port cannot be read: write host:port, an IPv6 address in [brackets]."),
    "url_path": _("The URL's path contains {character}, which must be percent-encoded."),
    "url_port": _("The URL's port is {port}; it must be between 1 and 65535."),
    "url_no_host": _("The URL names no host."),
    "url_not_ipv6": _("The URL's host {host} is not an IPv6 address."),
    "url_zone": _("The URL's IPv6 address has a zone (%...): leave it out."),
    "url_host": _("The URL's host {host} is not a valid name."),
}

CERTIFICATES = {
    "ca_too_long": _("The CA certificates (ca_pem) are longer than {bytes:size}."),
    "ca_private_key": _("The CA certificates (ca_pem) contain a private key: leave it out."),
    "ca_other_block": _("The CA certificates (ca_pem) contain a block “{label}”: leave it out."),
    "ca_broken": _("Certificate {n} of the CA certificates (ca_pem) is broken: copy it from BEGIN to END."),
    "ca_missing": _(
        "The CA certificates (ca_pem) contain no certificate: write PEM, which begins with -----BEGIN CERTIFICATE-----."
    ),
    "ca_expired": _("Certificate {n} of the CA certificates (ca_pem), {subject}, expired on {date}: replace it."),
}

HEADERS = {
    "header_too_many": _("{where}: more than {n} headers."),
    "header_name": _("{where}: {name} is not a header's name: letters, digits and hyphens."),
    "header_reserved": _("{where}: {name} is a header of the connection, which SeqPulse sets itself: leave it out."),
    "header_twice": _("{where}: the header {name} is there twice, in upper and lower case."),
    "header_value": _("{where}: the value of {name} contains the character U+{number}, which no header may contain."),
    "header_too_long": _("{where}: the value of {name} is longer than {n} characters."),
    "headers_too_long": _("{where}: the headers are longer than {n} characters in all."),
    "basic_character": _("{where}: user name or password contains a control character, such as the end of a line."),
    "basic_colon": _("{where}: the user name contains a colon, which basic authentication cannot transmit."),
    "basic_too_long": _("{where}: user name or password is longer than {n} characters."),
    "basic_twice": _("{where}: {other} has an Authorization header already: keep one of both."),
}

register({**FAILURES, **WAITING, **PROBLEMS, **SYSTEM, **ADDRESSES, **URLS, **CERTIFICATES, **HEADERS}, {"size": size})
