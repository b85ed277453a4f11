"""Round-trip time, its variation, and loss, by ICMP echo."""
