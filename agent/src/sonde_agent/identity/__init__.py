"""Who this agent is: its key, its certificate, and how it gets the next one."""
