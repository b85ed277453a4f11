"""What can be measured: one folder a kind, listed in `kinds.KINDS`."""
