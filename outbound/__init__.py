"""Send HTTP requests to addresses that users chose, with a guard against internal ones."""

from outbound import texts  # noqa: F401  (registers the sentences of what is raised in here)
