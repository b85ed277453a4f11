"""What one vantage may spend here, so that whoever has its certificate costs the others nothing."""
