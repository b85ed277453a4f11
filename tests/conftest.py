"""What every test may ask for."""

pytest_plugins = ["support.debs", "support.lab", "support.postgres"]
