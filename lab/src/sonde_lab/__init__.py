"""The demo, and the virtual internet that Sonde is tested in."""
