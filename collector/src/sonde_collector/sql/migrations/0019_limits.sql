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

-- ── Hours that one vantage wrote so much into that counting them keeps the others waiting ────────────────

CREATE TABLE sonde.heavy_hours (
  series      TEXT NOT NULL,
  hour        TIMESTAMPTZ NOT NULL,
  probe_id    SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  not_before  TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (series, hour, probe_id)
);
COMMENT ON TABLE sonde.heavy_hours IS 'Hours of a vantage that are not counted anew before their time: each count would keep the others waiting';
COMMENT ON COLUMN sonde.heavy_hours.series IS 'As in sonde.dirty_marks';
COMMENT ON COLUMN sonde.heavy_hours.hour IS 'Its beginning';
COMMENT ON COLUMN sonde.heavy_hours.probe_id IS 'The vantage';
COMMENT ON COLUMN sonde.heavy_hours.not_before IS 'Its mark stays until then';

-- As in 0011, but marks of heavy hours stay until their time has come.
CREATE OR REPLACE FUNCTION sonde.take_marks(wanted text, most int) RETURNS TABLE (hour timestamptz, probes smallint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup/' || wanted));
  DELETE FROM sonde.heavy_hours WHERE series = wanted AND not_before <= now();
  RETURN QUERY
  WITH due AS (
    SELECT DISTINCT m.hour, m.probe_id FROM sonde.dirty_marks m
    WHERE m.series = wanted AND NOT EXISTS (
      SELECT FROM sonde.series_needs n JOIN sonde.archives a USING (parent)
      WHERE n.series = wanted AND a.state <> 'restored' AND a.hi > m.hour - n.before AND a.lo < m.hour + n.after)
    AND NOT EXISTS (
      SELECT FROM sonde.heavy_hours h WHERE h.series = wanted AND h.hour = m.hour AND h.probe_id = m.probe_id)
    ORDER BY m.hour DESC, m.probe_id LIMIT most
  ),
  seen AS (
    DELETE FROM sonde.dirty_marks AS mark USING due
    WHERE mark.series = wanted AND mark.hour = due.hour AND mark.probe_id = due.probe_id
    RETURNING mark.hour, mark.probe_id
  )
  SELECT hour, array_agg(DISTINCT probe_id) FROM seen GROUP BY hour ORDER BY hour DESC;
END $$;

-- Asked after a turn that took long. Of the hours that are dirty again, those for which a vantage has more than `rows`
-- results are put off for a minute for each 100 000 of them: about a twentieth of the time goes into one.
CREATE FUNCTION sonde.put_off_heavy_hours(wanted text, rows bigint DEFAULT 250000) RETURNS int LANGUAGE sql AS $$
  WITH dirty AS MATERIALIZED (
    SELECT DISTINCT hour, probe_id FROM sonde.dirty_marks WHERE series = wanted LIMIT 1000
  ), counted AS (
    SELECT dirty.hour, dirty.probe_id, CASE wanted
      WHEN 'performance' THEN (SELECT sum(h.sample_count) FROM performance_logs_hourly h
                               WHERE h.hour = dirty.hour AND h.probe_id = dirty.probe_id)
      WHEN 'endpoint' THEN (SELECT sum(e.checks) FROM sonde.endpoint_hour e
                            WHERE e.bucket = dirty.hour
                              AND e.probe_id = dirty.probe_id) END AS results
    FROM dirty
  ), put_off AS (
    INSERT INTO sonde.heavy_hours (series, hour, probe_id, not_before)
    SELECT wanted, hour, probe_id, now() + results / 100000.0 * interval '1 minute' FROM counted WHERE results > rows
    ORDER BY hour, probe_id ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT count(*)::int FROM put_off
$$;
COMMENT ON FUNCTION sonde.put_off_heavy_hours IS 'Puts hours of a vantage off that take so long to count that the others would wait; gives how many';
