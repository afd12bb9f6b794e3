"""Requests that we send, and their guard."""

from outbound import texts  # noqa: F401  (registers the sentences of what is raised in here)
