"""Profiles: policies for kinds of services to begin with."""

from collections.abc import Mapping
from typing import Any

# A worker takes jobs from a queue and has no HTTP. cpu and memory are among the five.
WORKER: Mapping[str, Any] = {
    "kind": "adaptive",
    "left_out": ["requests_per_sec", "latency_p95", "error_rate"],
    "custom_metrics": [
        {
            "name": "jobs_per_minute",
            "unit": "/min",
            "kind": "rate",
            "direction": "down_is_bad",
            "warning": {"relative": 0.4},
            "rollback": {"relative": 0.9},
            "critical": True,
            "smallest": 1,
        },
        {
            "name": "failed_share",
            "kind": "ratio",
            "direction": "up_is_bad",
            "warning": {"absolute": 0.02},
            "rollback": {"absolute": 0.1},
            "critical": True,
        },
        {
            "name": "backlog",
            "unit": "jobs",
            "kind": "gauge",
            "direction": "up_is_bad",
            "warning": {"relative": 0.5},
            "rollback": {"relative": 3.0},
            "smallest": 20,
        },
    ],
}

PROFILES: Mapping[str, Mapping[str, Any]] = {"worker": WORKER}
