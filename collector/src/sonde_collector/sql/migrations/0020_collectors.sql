-- 0020: several collectors on one database: where an agent speaks now.

ALTER TABLE sonde.agents ADD COLUMN collector TEXT NOT NULL DEFAULT '';
COMMENT ON COLUMN sonde.agents.collector IS 'host:port of the collector that heard it last; empty = one that did not say';

-- 0003 had it the wrong way round.
COMMENT ON COLUMN sonde.vantage_health.clock_offset_ms IS 'The collector''s clock minus the vantage''s';
