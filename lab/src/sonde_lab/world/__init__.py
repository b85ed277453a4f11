"""The world server: it plays streaming platforms by the country of whoever calls."""
