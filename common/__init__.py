"""Small modules that several apps share."""

from common import texts  # noqa: F401  (registers the sentences of what is raised in here)
