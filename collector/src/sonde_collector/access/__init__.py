"""Who may read by HTTP: keys, their rates, and when no key is needed."""
