"""Results in, rows out: who sends, what is acceptable, and the one transaction that commits it."""
