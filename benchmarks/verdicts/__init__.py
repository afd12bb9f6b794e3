"""Measure how often verdicts are right: labelled simulations, our judge, other judges, and ablations."""
