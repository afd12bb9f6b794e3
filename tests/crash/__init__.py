"""Faults: real pollers, servers and signals. However they go, every deployment is judged and nothing counts twice."""
