-- 0019: what a vantage used of a day's quota, and which limits it met.

CREATE TABLE sonde.rejected_bytes (
  probe_id  SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  day       DATE NOT NULL,
  bytes     BIGINT NOT NULL,
  PRIMARY KEY (probe_id, day)
);
COMMENT ON TABLE sonde.rejected_bytes IS 'How much of each vantage''s results was set aside, by day; kept for two days';
COMMENT ON COLUMN sonde.rejected_bytes.probe_id IS 'The vantage';
COMMENT ON COLUMN sonde.rejected_bytes.day IS 'UTC';
COMMENT ON COLUMN sonde.rejected_bytes.bytes IS 'What rows of sonde.rejected_results take, about';

CREATE TABLE sonde.limits_met (
  probe_id  SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  what      TEXT NOT NULL,
  first_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
  last_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
  detail    TEXT NOT NULL,
  PRIMARY KEY (probe_id, what)
);
COMMENT ON TABLE sonde.limits_met IS 'Vantages that a collector slowed down or refused by its [limits]; kept for a day';
COMMENT ON COLUMN sonde.limits_met.probe_id IS 'The vantage';
COMMENT ON COLUMN sonde.limits_met.what IS 'Which limit, by its key in collector.toml';
COMMENT ON COLUMN sonde.limits_met.first_at IS 'Since when, with no ten minutes without';
COMMENT ON COLUMN sonde.limits_met.last_at IS 'When last';
COMMENT ON COLUMN sonde.limits_met.detail IS 'In words, for people';

-- How many leases a vantage has is asked at each new one, and how many streams it began in the last day likewise.
CREATE INDEX leases_by_probe ON sonde.leases (probe_id);
CREATE INDEX streams_by_probe ON sonde.streams (probe_id, created_at);
