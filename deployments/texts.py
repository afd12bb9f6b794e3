"""The sentences of collections that a deployment's end calls off."""

from __future__ import annotations

from explain.catalogue import gettext_noop as _
from explain.catalogue import register

register(
    {
        "superseded": _("not collected: another deployment has superseded this one"),
        "abandoned": _("not collected: no finish came within {hours:number} hours"),
    }
)
