"""A deployment's verdict as a few lines of Markdown, to paste into a ticket or a chat."""

import re
from typing import Any

from django.utils.translation import gettext as _

from dashboard.deployments.way_back import WayBack
from deployments.models import Deployment

SHA = 8


def summary_of(deployment: Deployment, *, label: Any, finding: str, back: WayBack | None, link: str) -> str:
    """Return the summary in the active language. link: of the page, "" where its address is not known."""
    name = f"{deployment.project.name} {deployment.environment.name} #{deployment.number}"
    lines = [f"**{escaped(name)}: {escaped(str(label))}** – {escaped(finding)}"]
    change = [deployment.version, deployment.commit_sha[:SHA], deployment.commit_title, deployment.author]
    if known := [escaped(text) for text in change if text]:
        lines.append(f"- {_('Deployed')}: {', '.join(known)}")
    if back is not None:
        good = [f"#{back.good.number}", back.good.version, back.good.commit_sha[:SHA]]
        lines.append(f"- {_('Last good here')}: {escaped(', '.join(filter(None, good)))}")
    if link:
        lines.append(f"- {link}")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return a text in which nothing is markup: pipelines give commit messages."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
