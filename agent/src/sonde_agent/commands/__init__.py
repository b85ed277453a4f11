"""One file a command: what it does when it was chosen. Each gives the exit code."""
