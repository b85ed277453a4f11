"""What the collector does for the database on its own: partitions."""
