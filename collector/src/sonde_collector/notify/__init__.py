"""Who hears of an event: channels, silences, deliveries; and the heartbeat that tells when nobody would."""
