-- 0012: what health is judged from, what it remembers, and what it did. The states themselves are in 0009.

-- ── What came in ─────────────────────────────────────────────────────────────────────────────────────────

-- Append-only like the dirty marks: written in the COPY's transaction, deleted by the turn that folds it into the
-- windows. So a row counts once however late it comes, and nobody looks for it in the big tables.
CREATE TABLE sonde.health_inbox (
  id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  object    TEXT NOT NULL CHECK (object IN ('server', 'target')),
  verdicts  BYTEA NOT NULL,
  labels    JSONB
);
ALTER TABLE sonde.health_inbox ALTER COLUMN verdicts SET STORAGE EXTERNAL;
ALTER TABLE sonde.health_inbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE sonde.health_inbox IS 'Verdicts of committed results that health has not looked at yet';
COMMENT ON COLUMN sonde.health_inbox.verdicts IS 'Packed rows: sonde_collector.health.entries.VERDICT';
COMMENT ON COLUMN sonde.health_inbox.labels IS 'Series of a target -> its address';

-- ── What it remembers ────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.health_windows (
  object     TEXT NOT NULL CHECK (object IN ('server', 'target')),
  object_id  INT NOT NULL,
  verdicts   BYTEA NOT NULL,
  labels     JSONB NOT NULL DEFAULT '{}',
  PRIMARY KEY (object, object_id)
) WITH (fillfactor = 50);
ALTER TABLE sonde.health_windows ALTER COLUMN verdicts SET STORAGE EXTERNAL;
COMMENT ON TABLE sonde.health_windows IS 'The newest verdicts of each server and target, from each vantage by each protocol or address';
COMMENT ON COLUMN sonde.health_windows.object_id IS 'servers.id or sonde.targets.id';
COMMENT ON COLUMN sonde.health_windows.verdicts IS 'Packed rows: sonde_collector.health.entries.VERDICT';
COMMENT ON COLUMN sonde.health_windows.labels IS 'Series of a target -> its address';

CREATE TABLE sonde.health_lines (
  probe_id  SMALLINT PRIMARY KEY REFERENCES probe_locations(id) ON DELETE CASCADE,
  last_ok   BIGINT,
  gaps      JSONB NOT NULL DEFAULT '[]'
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.health_lines IS 'When each vantage saw nothing succeed: its own line may have been down';
COMMENT ON COLUMN sonde.health_lines.last_ok IS 'Its newest success, in microseconds since 1970';
COMMENT ON COLUMN sonde.health_lines.gaps IS '[from, until, whether the line was down], in microseconds since 1970';

-- ── What the inventory says ──────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.health_settings (
  key        TEXT PRIMARY KEY,
  spec       JSONB NOT NULL,
  is_active  BOOLEAN NOT NULL DEFAULT true
);
COMMENT ON TABLE sonde.health_settings IS 'The [health] tables of the fleet file; those of targets stand in sonde.targets.spec';
COMMENT ON COLUMN sonde.health_settings.key IS 'fleet, provider/KEY or server/KEY: the later ones win';

CREATE TABLE sonde.origin_groups (
  key        TEXT PRIMARY KEY,
  spec       JSONB NOT NULL,
  is_active  BOOLEAN NOT NULL DEFAULT true
);
COMMENT ON TABLE sonde.origin_groups IS 'Targets that stand in for one another, in order of preference; spec is the [[origin_group]] as written';

-- ── What it did ──────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.health_changes (
  object      TEXT NOT NULL,
  key         TEXT NOT NULL,
  at          TIMESTAMPTZ NOT NULL,
  from_state  TEXT NOT NULL,
  to_state    TEXT NOT NULL,
  reason      TEXT NOT NULL,
  flapping    BOOLEAN NOT NULL DEFAULT false,
  data        JSONB NOT NULL DEFAULT '{}',
  PRIMARY KEY (object, key, at)
);
CREATE INDEX health_changes_by_time ON sonde.health_changes (at DESC);
COMMENT ON TABLE sonde.health_changes IS 'Every change of a state, also those that nobody was told of';
COMMENT ON COLUMN sonde.health_changes.data IS 'Vantages that said so; of an origin group the active member';

-- A provider whose servers all fail at once is likely to be away as a whole, or to have shut us out.
CREATE TABLE sonde.provider_holds (
  id           INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  provider_id  SMALLINT NOT NULL REFERENCES providers(id),
  since        TIMESTAMPTZ NOT NULL,
  held_at      TIMESTAMPTZ NOT NULL,
  ended_at     TIMESTAMPTZ,
  verdict      TEXT CHECK (verdict IN ('down', 'ours')),
  judged_at    TIMESTAMPTZ,
  servers      TEXT[] NOT NULL
);
CREATE UNIQUE INDEX provider_holds_open ON sonde.provider_holds (provider_id) WHERE ended_at IS NULL;
COMMENT ON TABLE sonde.provider_holds IS 'Stretches in which all servers of a provider failed at once; what failed in them counts only once judged down';
COMMENT ON COLUMN sonde.provider_holds.since IS 'The first failure of the stretch';
COMMENT ON COLUMN sonde.provider_holds.ended_at IS 'When its servers answered again; NULL = they fail still';
COMMENT ON COLUMN sonde.provider_holds.verdict IS 'down: the provider was, its failures count; ours: they never do; NULL = nobody has said';
COMMENT ON COLUMN sonde.provider_holds.servers IS 'Stable keys of those that failed';
CREATE INDEX performance_held_by_server ON sonde.performance_held (server_id, measured_at) WHERE held_because = 'provider held';
