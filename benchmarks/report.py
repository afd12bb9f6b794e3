"""Print what a benchmark has measured: a table, then one line of JSON."""

import json
import os
from collections.abc import Collection
from typing import Any


def percentile(values: Collection[float], share: float) -> float:
    """Return the value that `share` (0..1) of the values do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def percentiles(values: Collection[float], *shares: int, prefix: str = "") -> dict[str, float]:
    """Return percentiles of values in ms, named like `p99_ms`."""
    return {f"{prefix}p{share}_ms": percentile(values, share / 100) for share in shares}


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table whose columns are their keys."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_shown(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        first, *others = zip(line, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))


def _shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def print_json(bench: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Print the rows with facts about machine and run."""
    print(json.dumps({"bench": bench, "cpus": os.cpu_count(), "load_1m": os.getloadavg()[0], **facts, "rows": rows}))
