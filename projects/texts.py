"""The sentences of this app's facts."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register

POLICY_ERRORS = {
    "policy.unknown_field": _("Unknown field. There are: {known}."),
    "policy.object": _("Must be an object with fields; in a file, a table."),
    "policy.choice": _("Must be one of {known}."),
    "policy.number": _("Must be a number of at least 0."),
    "policy.positive_number": _("Must be a number greater than 0."),
    "policy.ratio": _("Must be a number from 0 to 1 (100 %)."),
    "policy.positive_ratio": _("Must be a number greater than 0 and at most 1 (100 %)."),
    "policy.flag": _("Must be true or false."),
    "policy.metrics": _("Must be a list of metrics out of {known}."),
    "policy.warmup": _("Must be a whole number from 0 to {most}, or be left out."),
    "policy.nothing_to_judge": _("This leaves nothing to judge. Keep at least one metric."),
    "policy.not_text": _("Names of fields must be valid text."),
}

POLICY_FILES = {
    "policy.too_long": _("The policy file is longer than {most} characters."),
    "policy.not_toml": _("The policy file is not valid TOML: “{text}”"),
    "policy.too_large_for_toml": _(
        "The policy file is not valid TOML: a number has thousands of digits, or a value is nested too deep."
    ),
    "policy.environments": _("Must have one table per environment, like [environments.prod]."),
}

register({**POLICY_ERRORS, **POLICY_FILES})
