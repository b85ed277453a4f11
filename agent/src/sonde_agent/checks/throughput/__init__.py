"""How many bits a second a path carries, each way, and what that does to its round-trip time."""
