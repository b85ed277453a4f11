"""What is measured, from where and how often: fleet.toml, and its way into the database."""
