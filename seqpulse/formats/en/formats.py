"""Day before month, 24 hours; where it has to be short, as in ISO 8601: nobody reads that the other way round."""

from __future__ import annotations

DATE_FORMAT = "j N Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "j N Y, H:i"
SHORT_DATE_FORMAT = "Y-m-d"
SHORT_DATETIME_FORMAT = "Y-m-d H:i"
