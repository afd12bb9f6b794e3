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
    "policy.missing": _("Must be given."),
    "policy.list": _("Must be a list of tables, like [[custom_metrics]] in a file."),
    "policy.too_many": _("There may be at most {most} custom metrics."),
    "policy.named_twice": _("Each custom metric needs a name of its own; given twice: {names}."),
    "policy.name": _(
        "Must be a name of at most 63 small letters, digits and underscores that begins with a letter, and none of the "
        "five built-in metrics."
    ),
    "policy.unit": _("Must be a printable text of at most 20 characters."),
    "policy.empty_margin": _("Needs relative (a share of the level before), absolute (in the metric’s unit), or both."),
    "policy.falls_too_far": _(
        "Nothing falls by more than all of it: relative margins are at most 1 where down is bad."
    ),
    "policy.rollback_first": _("The margins of rollback may not be smaller than those of warning."),
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
