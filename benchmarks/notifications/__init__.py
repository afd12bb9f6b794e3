"""What notifications cost, and whether verdicts wait for them."""
