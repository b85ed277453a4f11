"""Results from the spool to the collector."""
