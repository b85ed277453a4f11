"""The collector: takes results in, commits them, and keeps inventory and plans."""
