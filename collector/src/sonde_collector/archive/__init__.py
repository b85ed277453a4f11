"""Old partitions as Parquet files: how they get there, how they come back, and how they are read."""
