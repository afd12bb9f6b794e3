"""Shares of right verdicts per band of PRE, verdict and distance.

Written by `python -m benchmarks.verdicts --calibrate --seed 1 --cases 20000`; do not edit.
"""

TABLE: dict[tuple[str, str], tuple[float, ...]] = {
    ("none", "ok"): (0.893, 0.943, 0.949, 0.950, 0.953, 0.953),  # 13565 cases
    ("none", "warning"): (0.146, 0.146, 0.146, 0.155, 0.155, 0.168),  # 4602 cases
    ("none", "rollback_recommended"): (0.801, 0.801, 0.801, 0.801, 0.801, 0.928),  # 1831 cases
    ("one", "ok"): (0.952, 0.968, 0.981, 0.984, 0.985, 0.985),  # 3230 cases
    ("one", "warning"): (0.193, 0.269, 0.439, 0.679, 0.843, 0.843),  # 1682 cases
    ("one", "rollback_recommended"): (0.843, 0.887, 0.950, 0.968, 0.975, 0.984),  # 1066 cases
    ("few", "ok"): (0.946, 0.978, 0.984, 0.985, 0.985, 0.985),  # 727 cases
    ("few", "warning"): (0.440, 0.440, 0.629, 0.734, 0.763, 0.763),  # 400 cases
    ("few", "rollback_recommended"): (0.971, 0.975, 0.978, 0.985, 0.985, 0.985),  # 255 cases
    ("enough", "ok"): (0.953, 0.971, 0.982, 0.985, 0.985, 0.985),  # 7065 cases
    ("enough", "warning"): (0.332, 0.570, 0.737, 0.865, 0.906, 0.934),  # 3256 cases
    ("enough", "rollback_recommended"): (0.875, 0.875, 0.967, 0.967, 0.978, 0.985),  # 2317 cases
}
