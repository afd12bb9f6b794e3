"""Why a metrics endpoint gave nothing, in the language of the page.

What goes wrong with a request is told, stored and logged in English (outbound/transfer.py, metrics/payload.py). Pages
find what was said among the templates here; what fits none, from an older version or from somebody else's program,
stays as it is. dashboard/tests/test_failures.py looks for every text of those modules here.
"""

from __future__ import annotations

import re
from functools import cache

from django.utils.translation import gettext_noop as _

from analysis.told import fill, placeholders
from dashboard.telling import ACTIVE, is_english

TEMPLATES = (
    # The whole: outbound/fetcher.py, outbound/transfer.py, metrics/sources/http_endpoint.py
    _("no complete answer from {host} within {seconds} s ({phase})"),
    _("no usable answer from {host}: {problem}"),
    _("{host} may not be called: {problem}. An operator can let it through with SEQPULSE_OUTBOUND_ALLOW."),
    _("{host} closed the connection without an answer"),
    _("{problem} (libcurl error {number})"),
    _("could not connect to {host}: {problem}"),
    _("no secure connection to {host}: {problem}"),
    _("no connection to {host} could be opened: {problem}"),
    _("the name {host} could not be resolved"),
    _("the name {host} could not be resolved: {problem}"),
    _("the program is shutting down"),
    _("HTTP {status} from {url}"),
    _("HTTP {status} from {url}: it refuses our signature. Compare the HMAC secret on both sides, and the clocks"),
    _(
        "HTTP {status} from {url}: it asks for credentials. Turn signing on for this environment, or let it answer "
        "unsigned"
    ),
    _("HTTP {status} from {url}: redirects are not followed. Configure the address it leads to"),
    _("{url} refused the new HMAC secret so late that no time was left to try the previous one"),
    _("the operators of SeqPulse have blocked requests to this environment: ask them why"),
    _("the operators of SeqPulse have blocked requests to {url}: ask them why"),
    _("this environment has no metrics endpoint: set one, or send metrics_endpoint with trigger"),
    _("no configured key opens the secret of this environment"),
    # What it waited for
    _("the answer was not complete"),
    _("no answer"),
    _("while agreeing on encryption"),
    _("while connecting"),
    _("while resolving the name"),
    _("while waiting for its turn: too many requests under way"),
    # What was wrong
    _("the answer is not HTTP"),
    _("the connection was closed without an answer"),
    _("the connection broke while the request was being sent"),
    _("the connection broke before the answer was complete"),
    _("the connection was closed before the answer was complete"),
    _("the connection failed"),
    _("the answer's encoding is broken"),
    _("it sent the encoding {encoding} although none was asked for"),
    _("it sent a body of more than {size}"),
    _("it sent headers of more than {size}"),
    _("look-up failed"),
    # As operating systems say it
    _("connection refused"),
    _("connection reset by peer"),
    _("connection timed out"),
    _("name or service not known"),
    _("temporary failure in name resolution"),
    _("no address associated with hostname"),
    _("network is unreachable"),
    _("no route to host"),
    # outbound/addresses.py
    _("{address} is not an IP address"),
    _("it is not an internet address"),
    _("{address} is {kind}"),
    _("a cloud metadata address"),
    _("a link-local address"),
    _("an unspecified address"),
    _("a private address"),
    _("a carrier-grade NAT address"),
    _("a loopback address"),
    _("a reserved address"),
    _("a documentation address"),
    _("a 6to4 relay address"),
    _("a benchmarking address"),
    _("a multicast address"),
    _("an IPv4-mapped address"),
    _("an IPv4-compatible address"),
    _("a NAT64 address"),
    _("a Teredo address"),
    _("a 6to4 address"),
    _("a site-local address"),
    _("not a public address"),
    # What is no address at all: outbound/endpoints.py
    _("The URL is {length} characters long; {most} are allowed."),
    _("The URL contains the character U+{number}, which no URL may contain."),
    _("The URL is not absolute: it must start with http:// or https:// and name a host."),
    _("The URL's scheme is {scheme}; only http and https are allowed."),
    _("The URL has a fragment (#...), which is never sent: leave it out."),
    _("The URL contains a user name or password: leave them out."),
    _("The URL's host and port cannot be read: write host:port, an IPv6 address in [brackets]."),
    _("The URL's path contains {character}, which must be percent-encoded."),
    _("The URL's port is {port}; it must be between 1 and 65535."),
    _("The URL names no host."),
    _("The URL's host {host} is not an IPv6 address."),
    _("The URL's IPv6 address has a zone (%...): leave it out."),
    _("The URL's host {host} is not a valid name."),
    # The answer: metrics/payload.py
    _("{problem} (from {url})"),
    _("the answer is not valid JSON: {problem}"),
    _("Expecting value: line {line} column {column} (char {place})"),
    _("nested too deep"),
    _("Extra data: line {line} column {column} (char {place})"),
    _("Expecting property name enclosed in double quotes: line {line} column {column} (char {place})"),
    _("Expecting ',' delimiter: line {line} column {column} (char {place})"),
    _("Expecting ':' delimiter: line {line} column {column} (char {place})"),
    _("Unterminated string starting at: line {line} column {column} (char {place})"),
    _("Illegal trailing comma before end of object: line {line} column {column} (char {place})"),
    _('the answer has no object "metrics" with the five metrics'),
    _("{name} is missing, it has to be a number, {allowed}"),
    _("{name} is {value}, it has to be a number, {allowed}"),
    _("{name} is not finite, it has to be a number, {allowed}"),
    _("{name} is {value}, allowed {allowed}"),
    _("at least {number}"),
)
# Longer than any of them; what is stored may be anything.
LONGEST = 5000


@cache
def patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The templates as patterns, those first of which most is literal."""
    found = []
    for template in sorted(TEMPLATES, key=lambda template: -len(re.sub(r"\{\w+\}", "", template))):
        pieces = re.split(r"\{(\w+)\}", template)
        whole = "".join(f"(?P<{piece}>.+?)" if place % 2 else re.escape(piece) for place, piece in enumerate(pieces))
        found.append((re.compile(whole, re.S), template))
    return tuple(found)


def in_page_language(text: str) -> str:
    """What went wrong, in the language of the page; as it is where no template fits."""
    if is_english() or len(text) > LONGEST:
        return text
    for pattern, template in patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            values = {name: in_page_language(match[name]) for name in placeholders(template)}
            try:
                return fill(ACTIVE.text(template), values)
            except LookupError:
                return text
    return text
