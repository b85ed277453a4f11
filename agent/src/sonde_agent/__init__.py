"""The agent: measures from one vantage point and keeps every result until it is safe."""
