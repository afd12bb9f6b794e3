"""Name what an endpoint answered instead of JSON. Pure."""

import re

# Enough to recognise any of them; a login form may be far down.
LOOKED_AT = 16 * 1024
# A sample of Prometheus' text format: name{labels} value [timestamp], or with the name in quotes among the labels. No
# name ends with a colon: "Error: 500" is none.
SAMPLE = re.compile(
    r"([a-zA-Z_:]([a-zA-Z0-9_:]*[a-zA-Z0-9_])?(\{[^\n]*\})?|\{\s*\"[^\"\n]*\"\s*(,[^\n]*)?\})"
    r"[ \t]+[+-]?(\d[\d.eE+-]*|\.\d+|inf|nan)([ \t]+-?[\d.]+)?([ \t]+#.*)?",
    re.IGNORECASE,
)
LINES = 20
COMMENT = re.compile(r"#\s*(HELP|TYPE|UNIT|EOF)\b")
HTML = re.compile(r"<(!doctype\s+html|html|head|body|title|h1|div|script|p)\b", re.IGNORECASE)
LOGIN = re.compile(r"type\s*=\s*[\"']?password|\b(log|sign)[\s-]?in\b|single sign-on", re.IGNORECASE)


def format_of(body: bytes, content_type: str = "") -> str:
    """Return what the body is: empty, prometheus, openmetrics, html, html_login, or "" where none of these.

    content_type: of the answer, for a body that was not read.
    """
    text = body[:LOOKED_AT].decode("utf-8-sig", "replace").strip()
    if text.startswith("<") and HTML.search(text):
        return "html_login" if LOGIN.search(text) else "html"
    if len(body) > LOOKED_AT:
        # The last line is cut.
        text = text.rpartition("\n")[0]
    named = _exposition(text, ends=body[-LOOKED_AT:].rstrip().endswith(b"# EOF")) or _by_type(content_type.lower())
    return named or ("" if body.strip() else "empty")


def _exposition(text: str, *, ends: bool) -> str:
    """Return the format of metrics as text, if it is one. ends: whether the body has the end mark of OpenMetrics."""
    lines = [line.strip() for line in text.split("\n") if line.strip()][:LINES]
    described = [bool(COMMENT.match(line)) for line in lines]
    samples = [line for line in lines if not line.startswith("#")]
    if not all(SAMPLE.fullmatch(line) for line in samples):
        return ""
    # "Error 500" alone is no metric.
    if not any(described) and len(samples) < 2 and not any(mark in line for line in samples for mark in "_{:"):
        return ""
    return "openmetrics" if ends or any(line.startswith("# UNIT ") for line in lines) else "prometheus"


def _by_type(content_type: str) -> str:
    if content_type.startswith("application/openmetrics-text"):
        return "openmetrics"
    is_prometheus = re.match(r"text/plain\b.*\bversion=", content_type) or "io.prometheus.client" in content_type
    return "prometheus" if is_prometheus else ""
