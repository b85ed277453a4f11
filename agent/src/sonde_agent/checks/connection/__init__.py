"""A tunnel to a server, what runs inside it, and the direct baseline beside it."""
