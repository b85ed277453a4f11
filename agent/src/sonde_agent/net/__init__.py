"""The sockets: nothing outside this room opens one."""
