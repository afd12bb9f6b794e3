"""Say of an endpoint, as soon as it is set, that no request may go there."""

from django.conf import settings

from explain.facts import Fact, Param
from outbound.addresses import AllowList, network_to_allow, refusal
from outbound.endpoints import parse_endpoint
from outbound.resolver import addresses_of

# Addresses are converted on this machine.
TIMEOUT_S = 1.0


def refused_endpoint(url: str) -> Fact | None:
    """Return why no request may go to this valid URL, with the setting that allows it; None: it may, or has a name.

    Names are not looked up here: what they lead to may change, and is checked before each request.
    """
    endpoint = parse_endpoint(url)
    if endpoint.needs_look_up:
        return None
    try:
        addresses = addresses_of(endpoint, TIMEOUT_S)
    except OSError:
        return None
    allow = AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW)
    reasons = [refusal(address, allow, endpoint.host) for address in addresses]
    if not reasons or None in reasons:
        return None
    about: dict[str, Param] = {"host": endpoint.authority, "problem": reasons[-1]}
    opened = network_to_allow(addresses[-1], settings.SEQPULSE_OUTBOUND_ALLOW)
    return Fact("blocked_at_entry", {**about, "allow": opened}) if opened else Fact("blocked", about)
