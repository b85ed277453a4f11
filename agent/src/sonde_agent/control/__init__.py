"""What this agent is told to run."""
