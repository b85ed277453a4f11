"""What people and programs see of the collector. Reads only."""
