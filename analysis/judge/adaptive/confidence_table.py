"""Shares of right verdicts per band of PRE, verdict and distance.

Written by `python -m benchmarks.verdicts --calibrate --seed 1 --cases 8000`; do not edit.
"""

TABLE: dict[tuple[str, str], tuple[float, ...]] = {
    ("none", "ok"): (0.899, 0.947, 0.950, 0.950, 0.952, 0.953),  # 5163 cases
    ("none", "warning"): (0.131, 0.131, 0.131, 0.131, 0.131, 0.131),  # 2093 cases
    ("none", "rollback_recommended"): (0.872, 0.872, 0.872, 0.872, 0.872, 0.927),  # 743 cases
    ("one", "ok"): (0.956, 0.977, 0.983, 0.984, 0.985, 0.985),  # 1248 cases
    ("one", "warning"): (0.240, 0.261, 0.409, 0.693, 0.737, 0.737),  # 686 cases
    ("one", "rollback_recommended"): (0.930, 0.930, 0.965, 0.973, 0.978, 0.983),  # 415 cases
    ("few", "ok"): (0.955, 0.981, 0.985, 0.985, 0.985, 0.985),  # 314 cases
    ("few", "warning"): (0.467, 0.467, 0.668, 0.668, 0.678, 0.678),  # 168 cases
    ("few", "rollback_recommended"): (0.985, 0.985, 0.985, 0.985, 0.985, 0.985),  # 93 cases
    ("enough", "ok"): (0.951, 0.977, 0.983, 0.985, 0.985, 0.985),  # 2801 cases
    ("enough", "warning"): (0.431, 0.604, 0.797, 0.878, 0.904, 0.904),  # 1329 cases
    ("enough", "rollback_recommended"): (0.869, 0.869, 0.956, 0.974, 0.980, 0.985),  # 945 cases
}
