"""The command line client as a module, for tests that need no process of its own."""

import importlib.util
import sys
from typing import Any

from tests.system_tools import ROOT


def load() -> Any:
    """Return the module, under a name of its own: the server's package is called seqpulse."""
    spec = importlib.util.spec_from_file_location("seqpulse_client", ROOT / "clients" / "seqpulse.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
