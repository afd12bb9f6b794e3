"""Measure pollers beside alternatives: `make bench-poller`."""
