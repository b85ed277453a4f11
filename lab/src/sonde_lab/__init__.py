"""The demo, and later the virtual internet that Sonde is tested in."""
