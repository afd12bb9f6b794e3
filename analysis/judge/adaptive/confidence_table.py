"""Shares of right verdicts per band of PRE, verdict and distance.

Written by `python -m benchmarks.verdicts --calibrate --seed 1 --cases 20000`; do not edit.
"""

TABLE: dict[tuple[str, str], tuple[float, ...]] = {
    ("none", "ok"): (0.882, 0.933, 0.939, 0.940, 0.943, 0.943),  # 13579 cases
    ("none", "warning"): (0.136, 0.136, 0.136, 0.145, 0.145, 0.159),  # 4594 cases
    ("none", "rollback_recommended"): (0.791, 0.791, 0.791, 0.791, 0.791, 0.918),  # 1825 cases
    ("one", "ok"): (0.940, 0.956, 0.971, 0.974, 0.976, 0.979),  # 3244 cases
    ("one", "warning"): (0.204, 0.260, 0.440, 0.673, 0.838, 0.838),  # 1676 cases
    ("one", "rollback_recommended"): (0.906, 0.906, 0.946, 0.962, 0.969, 0.976),  # 1058 cases
    ("few", "ok"): (0.941, 0.967, 0.973, 0.978, 0.979, 0.979),  # 729 cases
    ("few", "warning"): (0.475, 0.475, 0.616, 0.728, 0.762, 0.762),  # 399 cases
    ("few", "rollback_recommended"): (0.971, 0.971, 0.974, 0.977, 0.977, 0.978),  # 254 cases
    ("enough", "ok"): (0.940, 0.959, 0.972, 0.977, 0.978, 0.979),  # 7070 cases
    ("enough", "warning"): (0.337, 0.562, 0.730, 0.856, 0.897, 0.925),  # 3260 cases
    ("enough", "rollback_recommended"): (0.882, 0.886, 0.959, 0.959, 0.969, 0.978),  # 2308 cases
}
