"""The agent: measures from one vantage point and keeps every result until it is safe."""

VERSION = "0.1.0"
"""As in pyproject.toml; importlib.metadata would cost a running agent the email package."""
