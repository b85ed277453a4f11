"""The check `endpoint`: DNS servers, TCP ports, TLS services and HTTP(S) URLs, phase by phase."""
