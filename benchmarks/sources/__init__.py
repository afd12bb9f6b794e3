"""Measure sources of metrics: `make bench-sources`."""
