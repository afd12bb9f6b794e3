"""Fault tests with real pollers, servers and signals: every deployment is judged and no sample counts twice."""
