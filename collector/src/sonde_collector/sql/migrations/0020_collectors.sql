-- 0020: several collectors on one database: where an agent speaks now.

ALTER TABLE sonde.agents ADD COLUMN collector TEXT NOT NULL DEFAULT '';
COMMENT ON COLUMN sonde.agents.collector IS 'host:port of the collector that heard it last; empty = one that did not say';
