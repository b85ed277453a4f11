"""What every test may ask for."""

pytest_plugins = ["support.lab", "support.postgres"]
