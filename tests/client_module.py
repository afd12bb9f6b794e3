"""The command line client as a module, for tests that need no process of its own, and variables for those that do."""

import importlib.util
import sys
from typing import Any

from tests.processes import environment
from tests.system_tools import ROOT

# What CI systems and people set.
FOREIGN = (
    *("GITHUB_", "CI", "GITLAB_", "JENKINS_", "CIRCLE", "BITBUCKET_", "TF_BUILD", "BUILDKITE", "DRONE"),
    *("ACT", "NO_COLOR"),
)


def variables(**values: str) -> dict[str, str]:
    """Return an environment without a CI system, and with `values`: the one that runs the tests has its own."""
    return {name: text for name, text in environment().items() if not name.startswith(FOREIGN)} | values


def load() -> Any:
    """Return the module, under a name of its own: the server's package is called seqpulse."""
    spec = importlib.util.spec_from_file_location("seqpulse_client", ROOT / "clients" / "seqpulse.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
