"""The wire of Sonde: messages, the columns format, quality bits."""
