"""Run `make demo`: a simulated service, three deployments, three verdicts."""
