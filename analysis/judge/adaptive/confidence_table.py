"""Shares of right verdicts per band of PRE, verdict and distance.

Written by `python -m benchmarks.verdicts --calibrate --seed 1 --cases 20000`; do not edit.
"""

TABLE: dict[tuple[str, str], tuple[float, ...]] = {
    ("none", "ok"): (0.874, 0.931, 0.938, 0.939, 0.942, 0.942),  # 14532 cases
    ("none", "warning"): (0.167, 0.167, 0.171, 0.239, 0.324, 0.324),  # 3641 cases
    ("none", "rollback_recommended"): (0.791, 0.791, 0.791, 0.791, 0.791, 0.918),  # 1825 cases
    ("one", "ok"): (0.935, 0.952, 0.968, 0.974, 0.976, 0.978),  # 3271 cases
    ("one", "warning"): (0.202, 0.265, 0.473, 0.683, 0.854, 0.854),  # 1652 cases
    ("one", "rollback_recommended"): (0.905, 0.905, 0.946, 0.962, 0.969, 0.976),  # 1055 cases
    ("few", "ok"): (0.942, 0.968, 0.970, 0.977, 0.979, 0.979),  # 732 cases
    ("few", "warning"): (0.476, 0.476, 0.619, 0.726, 0.760, 0.760),  # 395 cases
    ("few", "rollback_recommended"): (0.971, 0.971, 0.974, 0.978, 0.978, 0.978),  # 255 cases
    ("enough", "ok"): (0.932, 0.959, 0.972, 0.976, 0.978, 0.979),  # 7075 cases
    ("enough", "warning"): (0.366, 0.554, 0.716, 0.845, 0.894, 0.924),  # 3253 cases
    ("enough", "rollback_recommended"): (0.881, 0.881, 0.958, 0.958, 0.969, 0.978),  # 2310 cases
}
