"""The agent's systemd units, and how a host without our package gets them."""
