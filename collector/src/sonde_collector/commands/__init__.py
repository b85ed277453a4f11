"""The commands of sonde-collector, one file per group; each adds its own parsers."""
