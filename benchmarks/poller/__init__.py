"""How fast pollers are, side by side with other ways to do it: `make bench-poller`."""
