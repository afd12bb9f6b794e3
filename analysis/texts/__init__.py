"""Templates of the judge's facts by code (explain/catalogue.py). English here, other languages in locale/."""

from analysis.texts import acknowledgements, backfill, hints, metrics, verdicts
from explain.catalogue import register

register(metrics.TEXTS, metrics.UNITS)
register(verdicts.TEXTS)
register(hints.TEXTS)
register(acknowledgements.TEXTS)
register(backfill.TEXTS)
