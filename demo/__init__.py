"""`make demo`: a simulated service, three deployments of it, three verdicts."""
