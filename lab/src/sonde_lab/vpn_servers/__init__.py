"""The VPN servers of the lab: what a provider runs, one file for each protocol."""
