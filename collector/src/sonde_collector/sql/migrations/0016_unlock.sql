-- 0016: unlock checks with what they rest on; canaries; rule versions that are voided; and how all of it is read.
--
-- What counts: a check counts unless our own side kept it from being made (failure), its vantage was not fit to judge
-- (quality bit not_ready), or its rule version is voided. Such rows stay, with is_unlocked = false, and sonde.unlock_checks
-- leaves them out. Of what counts, a verdict is conclusive or not: a network error, a rate limit, an inconclusive answer
-- neither opens a platform nor closes it. Whether a server unlocks a platform is told by the newest conclusive check; the
-- matrix shows the newest check, whatever it says.

ALTER TABLE streaming_checks
  ADD COLUMN scope        TEXT,
  ADD COLUMN level        TEXT,
  ADD COLUMN via          TEXT,
  ADD COLUMN fidelity     TEXT,
  ADD COLUMN exchanges    INT,
  ADD COLUMN detail       TEXT,
  ADD COLUMN protocol_id  SMALLINT,
  ADD COLUMN credential   TEXT,
  ADD COLUMN failure      TEXT,
  ADD COLUMN stage        TEXT,
  ADD COLUMN quality      INT NOT NULL DEFAULT 0;
CREATE INDEX streaming_checks_by_rule ON streaming_checks (platform_id, rule_version) WHERE verdict = 'available';
COMMENT ON TABLE streaming_checks IS
  'One row per unlock check; is_unlocked is verdict ''available'' of a rule version that is not voided. Readers want sonde.unlock_checks';
COMMENT ON COLUMN streaming_checks.checked_at IS 'When the run began, by the vantage''s clock';
COMMENT ON COLUMN streaming_checks.is_unlocked IS
  'Kept by a trigger: verdict ''available'', by a fit vantage and a rule version that is not voided. Where verdict and failure are NULL another program wrote it';
COMMENT ON COLUMN streaming_checks.response_time_ms IS 'All exchanges together, without what was waited between them';
COMMENT ON COLUMN streaming_checks.stream_id IS 'sonde.streams; 0 for rows that no agent sent';
COMMENT ON COLUMN streaming_checks.seq IS 'Number within the stream: (stream_id, seq) is the result''s identity';
COMMENT ON COLUMN streaming_checks.probe_id IS 'The vantage that asked';
COMMENT ON COLUMN streaming_checks.verdict IS
  'available, partial, not_in_region, proxy_detected, blocked (these are conclusive), rate_limited, unsupported_family, network_error, inconclusive, not_configured; NULL where the rule was not asked';
COMMENT ON COLUMN streaming_checks.scope IS 'Of ''partial'', and what ''available'' covers: full, originals, storefront …';
COMMENT ON COLUMN streaming_checks.region IS 'ISO 3166-1: where the platform thinks we are';
COMMENT ON COLUMN streaming_checks.family IS '4 or 6';
COMMENT ON COLUMN streaming_checks.level IS 'What the evidence is, weakest first: geo_api, title_page, anonymous_session, playback';
COMMENT ON COLUMN streaming_checks.via IS 'native: both resolvers give the same; dns_proxy: only the tunnel''s gives it; NULL = not measured';
COMMENT ON COLUMN streaming_checks.fidelity IS 'Whose TLS the platform saw: browser_tls or plain_tls';
COMMENT ON COLUMN streaming_checks.exchanges IS 'Requests that were sent, redirects too';
COMMENT ON COLUMN streaming_checks.detail IS 'The step and marker that decided, or why nothing did';
COMMENT ON COLUMN streaming_checks.evidence IS 'What decided: no account, cookie, body or full exit address';
COMMENT ON COLUMN streaming_checks.protocol_id IS 'Of the tunnel; NULL = not told';
COMMENT ON COLUMN streaming_checks.credential IS 'Name of the account';
COMMENT ON COLUMN streaming_checks.failure IS 'Our side: why the rule was not asked; NULL when it was';
COMMENT ON COLUMN streaming_checks.stage IS 'The stage that failed';
COMMENT ON COLUMN streaming_checks.quality IS 'Bits: see sonde.quality_flags(quality)';

-- Direct checks, without a tunnel: what the platform says to the vantage itself.
CREATE TABLE sonde.canary_checks (
  platform_id       SMALLINT NOT NULL REFERENCES streaming_platforms(id),
  probe_id          SMALLINT NOT NULL REFERENCES probe_locations(id),
  checked_at        TIMESTAMPTZ NOT NULL,
  stream_id         INT NOT NULL,
  seq               BIGINT NOT NULL,
  rule_version      TEXT,
  verdict           TEXT,
  scope             TEXT,
  region            TEXT,
  family            SMALLINT,
  level             TEXT,
  via               TEXT,
  fidelity          TEXT,
  response_time_ms  REAL,
  exchanges         INT,
  detail            TEXT,
  evidence          JSONB,
  protocol_id       SMALLINT,
  credential        TEXT,
  failure           TEXT,
  stage             TEXT,
  quality           INT NOT NULL DEFAULT 0,
  PRIMARY KEY (platform_id, probe_id, checked_at, stream_id, seq)
) PARTITION BY RANGE (checked_at);
COMMENT ON TABLE sonde.canary_checks IS 'Unlock checks directly from a vantage: they tell a stale rule from a blocked exit';
COMMENT ON COLUMN sonde.canary_checks.checked_at IS 'When the run began, by the vantage''s clock';
COMMENT ON COLUMN sonde.canary_checks.rule_version IS 'Version of the rule that judged';
COMMENT ON COLUMN sonde.canary_checks.verdict IS 'As in streaming_checks';
COMMENT ON COLUMN sonde.canary_checks.scope IS 'As in streaming_checks';
COMMENT ON COLUMN sonde.canary_checks.region IS 'ISO 3166-1: where the platform thinks the vantage is';
COMMENT ON COLUMN sonde.canary_checks.family IS '4 or 6';
COMMENT ON COLUMN sonde.canary_checks.level IS 'As in streaming_checks';
COMMENT ON COLUMN sonde.canary_checks.via IS 'As in streaming_checks';
COMMENT ON COLUMN sonde.canary_checks.fidelity IS 'Whose TLS the platform saw: browser_tls or plain_tls';
COMMENT ON COLUMN sonde.canary_checks.response_time_ms IS 'All exchanges together, without what was waited between them';
COMMENT ON COLUMN sonde.canary_checks.exchanges IS 'Requests that were sent, redirects too';
COMMENT ON COLUMN sonde.canary_checks.detail IS 'The step and marker that decided, or why nothing did';
COMMENT ON COLUMN sonde.canary_checks.evidence IS 'What decided: no account, cookie, body or full address';
COMMENT ON COLUMN sonde.canary_checks.protocol_id IS 'NULL: there is no tunnel';
COMMENT ON COLUMN sonde.canary_checks.credential IS 'NULL: there is no tunnel';
COMMENT ON COLUMN sonde.canary_checks.failure IS 'Our side: why the rule was not asked; NULL when it was';
COMMENT ON COLUMN sonde.canary_checks.stage IS 'The stage that failed';
COMMENT ON COLUMN sonde.canary_checks.quality IS 'Bits: see sonde.quality_flags(quality)';

CREATE TABLE sonde.canary_servers (
  server_id  INT PRIMARY KEY REFERENCES servers(id) ON DELETE CASCADE,
  platforms  TEXT[] NOT NULL
);
COMMENT ON TABLE sonde.canary_servers IS 'Servers that plans name as known good, kept by apply';
COMMENT ON COLUMN sonde.canary_servers.platforms IS 'Slugs that they are known good for';

CREATE TABLE sonde.voided_rules (
  platform_id   SMALLINT NOT NULL REFERENCES streaming_platforms(id),
  rule_version  TEXT NOT NULL,
  voided_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
  reason        TEXT NOT NULL,
  PRIMARY KEY (platform_id, rule_version)
);
COMMENT ON TABLE sonde.voided_rules IS 'Rule versions that judged wrongly: their checks are kept and never read';
COMMENT ON COLUMN sonde.voided_rules.reason IS 'In words, as it was given';

-- ── What counts ──────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION sonde.is_conclusive(verdict text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT verdict IN ('available', 'partial', 'not_in_region', 'proxy_detected', 'blocked')
$$;
COMMENT ON FUNCTION sonde.is_conclusive IS 'Whether a verdict says something of the exit';

CREATE FUNCTION sonde.is_voided(platform smallint, version text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM sonde.voided_rules v WHERE v.platform_id = platform AND v.rule_version = version)
$$;
COMMENT ON FUNCTION sonde.is_voided IS 'Whether a rule version is voided';

-- Bit 4 of quality: not_ready.
CREATE FUNCTION sonde.says_unlocked(platform smallint, version text, verdict text, failure text, quality int)
RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce(verdict = 'available', false) AND failure IS NULL AND quality & 4 = 0 AND NOT sonde.is_voided(platform, version)
$$;
COMMENT ON FUNCTION sonde.says_unlocked IS 'What is_unlocked of a check must be';

-- Voiding holds the same lock alone for the moment in which it writes its row. So it sees each check that was judged
-- before it, and each check that is judged after it sees the row.
CREATE FUNCTION sonde.set_unlocked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.verdict IS NULL AND NEW.failure IS NULL AND NEW.is_unlocked IS NOT NULL THEN
    RETURN NEW;
  END IF;
  NEW.is_unlocked := false;
  IF NEW.verdict = 'available' THEN
    PERFORM pg_advisory_xact_lock_shared(hashtext('sonde'), hashtext('voided rules'));
    NEW.is_unlocked := sonde.says_unlocked(NEW.platform_id, NEW.rule_version, NEW.verdict, NEW.failure, NEW.quality);
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION sonde.set_unlocked IS 'Trigger: is_unlocked follows from the verdict; what another program wrote without one stays';

-- ALWAYS: a write that checks its keys by itself runs as a replica.
CREATE TRIGGER set_unlocked BEFORE INSERT OR UPDATE ON streaming_checks FOR EACH ROW EXECUTE FUNCTION sonde.set_unlocked();
ALTER TABLE streaming_checks ENABLE ALWAYS TRIGGER set_unlocked;

-- As in 0011, and checks that come back from an archive are judged by what is voided now.
CREATE OR REPLACE FUNCTION sonde.attach_loaded(parent regclass, child regclass, lo timestamptz, hi timestamptz)
RETURNS void LANGUAGE plpgsql SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
  key  text := (SELECT attname FROM pg_partitioned_table JOIN pg_attribute ON attrelid = partrelid
                AND attnum = partattrs[0] WHERE partrelid = parent);
BEGIN
  IF parent = 'public.streaming_checks'::regclass THEN
    PERFORM pg_advisory_xact_lock_shared(hashtext('sonde'), hashtext('voided rules'));
    EXECUTE format('UPDATE %s SET is_unlocked = NOT is_unlocked WHERE verdict = ''available'' AND is_unlocked '
                   '<> sonde.says_unlocked(platform_id, rule_version, verdict, failure, quality)', child);
  END IF;
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT partition_bound CHECK (%I IS NOT NULL AND %I >= %L AND %I < %L)',
                 child, key, key, lo, key, hi);
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', parent, child, lo, hi);
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT partition_bound', child);
END $$;

-- Makes is_unlocked of at most this many checks of a rule version in one partition what it must be; gives how many those
-- were. Fewer than asked for: there are no more.
CREATE FUNCTION sonde.mend_unlocked(child regclass, platform smallint, version text, most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  done  int;
BEGIN
  EXECUTE format(
    'UPDATE ONLY %1$s SET is_unlocked = NOT is_unlocked WHERE ctid = ANY (ARRAY('
    '  SELECT ctid FROM ONLY %1$s WHERE platform_id = $1 AND rule_version = $2 AND verdict = ''available'' AND is_unlocked'
    '    <> sonde.says_unlocked(platform_id, rule_version, verdict, failure, quality) LIMIT $3 FOR UPDATE))', child)
    USING platform, version, most;
  GET DIAGNOSTICS done = ROW_COUNT;
  RETURN done;
END $$;
COMMENT ON FUNCTION sonde.mend_unlocked IS 'After a rule version was voided, or is no more: a bounded step over the checks of a partition';

CREATE VIEW sonde.unlock_checks AS
SELECT c.server_id, c.platform_id, c.checked_at, c.is_unlocked, c.response_time_ms, c.stream_id, c.seq, c.probe_id, c.verdict,
       c.scope, c.region, c.family, c.rule_version, c.level, c.via, c.fidelity, c.exchanges, c.detail, c.evidence,
       c.protocol_id, c.credential, c.quality,
       c.verdict IS NULL OR sonde.is_conclusive(c.verdict) AS is_conclusive
FROM streaming_checks c
WHERE c.failure IS NULL AND c.quality & 4 = 0 AND NOT EXISTS (
  SELECT FROM sonde.voided_rules v WHERE v.platform_id = c.platform_id AND v.rule_version = c.rule_version);
COMMENT ON VIEW sonde.unlock_checks IS 'The unlock checks that count: what every reader uses';
COMMENT ON COLUMN sonde.unlock_checks.is_conclusive IS 'It says something of the exit, one way or the other';

-- ── Canaries: stale rule or blocked exit ─────────────────────────────────────────────────────────────────

-- Canary results that say something of a rule: it recognised the answer, or it did not.
CREATE VIEW sonde.canary_results AS
SELECT r.*, sonde.is_conclusive(r.verdict) AS is_conclusive
FROM (
  SELECT c.platform_id, NULL::int AS server_id, c.probe_id, c.family, c.rule_version, c.verdict, c.checked_at, c.stream_id, c.seq
  FROM sonde.canary_checks c WHERE c.failure IS NULL AND c.quality & 4 = 0
  UNION ALL
  SELECT c.platform_id, c.server_id, c.probe_id, c.family, c.rule_version, c.verdict, c.checked_at, c.stream_id, c.seq
  FROM sonde.canary_servers k
  JOIN streaming_platforms p ON p.slug = ANY (k.platforms)
  JOIN streaming_checks c ON c.server_id = k.server_id AND c.platform_id = p.id
  WHERE c.failure IS NULL AND c.quality & 4 = 0
) r
WHERE (sonde.is_conclusive(r.verdict) OR r.verdict = 'inconclusive') AND r.rule_version IS NOT NULL AND NOT EXISTS (
  SELECT FROM sonde.voided_rules v WHERE v.platform_id = r.platform_id AND v.rule_version = r.rule_version);
COMMENT ON VIEW sonde.canary_results IS 'Checks directly from vantages, and of servers known good, that tell whether a rule still knows its platform';
COMMENT ON COLUMN sonde.canary_results.server_id IS 'NULL = directly from the vantage';

-- Each rule version that the newest result of some canary used. Only what came after the last conclusive result counts:
-- stale when it is inconclusive twice in a row, in one series, at two vantages or at every one that has spoken since.
CREATE FUNCTION sonde.rule_states(since timestamptz)
RETURNS TABLE (platform_id smallint, rule_version text, state text, checked_at timestamptz, conclusive_at timestamptz,
               vantages bigint, doubting bigint)
LANGUAGE sql STABLE AS $$
  WITH said AS MATERIALIZED (
    SELECT r.platform_id, r.rule_version, r.probe_id, r.server_id, r.family, r.checked_at, r.is_conclusive,
           first_value(r.rule_version) OVER (PARTITION BY r.platform_id, r.probe_id, r.server_id
                                             ORDER BY r.checked_at DESC, r.stream_id DESC, r.seq DESC) AS newest
    FROM sonde.canary_results r WHERE r.checked_at >= since
  ), rule AS (
    SELECT s.platform_id, s.rule_version, max(s.checked_at) AS checked_at,
           max(s.checked_at) FILTER (WHERE s.is_conclusive) AS conclusive_at, count(DISTINCT s.probe_id) AS vantages
    FROM said s WHERE s.rule_version = s.newest GROUP BY s.platform_id, s.rule_version
  ), vantage AS (
    SELECT series.platform_id, series.rule_version, max(series.times) AS times
    FROM (
      SELECT s.platform_id, s.rule_version, s.probe_id, count(*) AS times
      FROM said s JOIN rule r ON r.platform_id = s.platform_id AND r.rule_version = s.rule_version
      WHERE s.rule_version = s.newest AND (r.conclusive_at IS NULL OR s.checked_at > r.conclusive_at)
      GROUP BY s.platform_id, s.rule_version, s.probe_id, s.server_id, s.family
    ) series
    GROUP BY series.platform_id, series.rule_version, series.probe_id
  ), doubt AS (
    SELECT v.platform_id, v.rule_version, count(*) AS speaking, count(*) FILTER (WHERE v.times >= 2) AS doubting
    FROM vantage v GROUP BY v.platform_id, v.rule_version
  )
  SELECT r.platform_id, r.rule_version,
         CASE WHEN d.doubting >= 2 OR d.doubting = d.speaking THEN 'stale'
              WHEN r.conclusive_at IS NOT NULL THEN 'fine' ELSE 'unknown' END,
         r.checked_at, r.conclusive_at, r.vantages, coalesce(d.doubting, 0)
  FROM rule r LEFT JOIN doubt d ON d.platform_id = r.platform_id AND d.rule_version = r.rule_version
$$;
COMMENT ON FUNCTION sonde.rule_states IS 'What canaries since then say of each rule version: fine, stale, or unknown while there is little';

-- ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

-- The newest check of each server, platform, family and protocol since then, from any vantage. Server by server: one piece of
-- the key's index each, and little to sort. cause: of what the exit or
-- the rule may be at fault for, which of them it is, by the canaries of the same rule version.
CREATE FUNCTION sonde.unlock_matrix(since timestamptz, servers int[] DEFAULT NULL, platforms smallint[] DEFAULT NULL)
RETURNS TABLE (
  server_id int, platform_id smallint, family smallint, protocol_id smallint, probe_id smallint, checked_at timestamptz,
  verdict text, is_unlocked boolean, is_conclusive boolean, scope text, region text, level text, via text, fidelity text,
  rule_version text, response_time_ms real, exchanges int, detail text, evidence jsonb, credential text, cause text
) LANGUAGE sql STABLE AS $$
  SELECT s.id, newest.platform_id, newest.family, newest.protocol_id, newest.probe_id, newest.checked_at, newest.verdict, newest.is_unlocked,
         newest.is_conclusive, newest.scope, newest.region, newest.level, newest.via, newest.fidelity, newest.rule_version,
         newest.response_time_ms, newest.exchanges, newest.detail, newest.evidence, newest.credential,
         CASE WHEN rule.state = 'fine' AND newest.verdict IN ('inconclusive', 'blocked') THEN 'exit'
              WHEN rule.state = 'stale' AND newest.verdict = 'inconclusive' THEN 'rule' END
  FROM servers s
  CROSS JOIN LATERAL (
    SELECT DISTINCT ON (c.platform_id, c.family, c.protocol_id) c.*
    FROM sonde.unlock_checks c
    WHERE c.server_id = s.id AND c.checked_at >= unlock_matrix.since
      AND (unlock_matrix.platforms IS NULL OR c.platform_id = ANY (unlock_matrix.platforms))
    ORDER BY c.platform_id, c.family, c.protocol_id, c.checked_at DESC, c.stream_id DESC, c.seq DESC
  ) newest
  LEFT JOIN sonde.rule_states(now() - interval '15 days') rule
    ON rule.platform_id = newest.platform_id AND rule.rule_version = newest.rule_version
  WHERE unlock_matrix.servers IS NULL OR s.id = ANY (unlock_matrix.servers)
$$;
COMMENT ON FUNCTION sonde.unlock_matrix IS 'The newest unlock check of each server, platform, family and protocol';

-- As in 0010, by what counts. The newest conclusive check decides; where the other family was checked in the day before it,
-- that one's newest conclusive check must say so too. In plpgsql, as its plan is kept.
CREATE OR REPLACE FUNCTION sonde.unlocked(server int, since timestamptz) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN ARRAY(
    SELECT platform.slug::text
    FROM streaming_platforms AS platform
    CROSS JOIN LATERAL (
      SELECT checked.checked_at FROM sonde.unlock_checks AS checked
      WHERE checked.server_id = server AND checked.platform_id = platform.id AND checked.checked_at >= since
        AND checked.is_conclusive
      ORDER BY checked.checked_at DESC LIMIT 1
    ) AS last
    CROSS JOIN LATERAL (
      SELECT bool_and(each.is_unlocked) AS everywhere
      FROM (
        SELECT DISTINCT ON (checked.family) checked.is_unlocked FROM sonde.unlock_checks AS checked
        WHERE checked.server_id = server AND checked.platform_id = platform.id AND checked.checked_at >= since
          AND checked.checked_at > last.checked_at - interval '1 day' AND checked.checked_at <= last.checked_at
          AND checked.is_conclusive
        ORDER BY checked.family, checked.checked_at DESC, checked.stream_id DESC, checked.seq DESC
      ) AS each
    ) AS said
    WHERE said.everywhere ORDER BY platform.slug);
END $$;
COMMENT ON FUNCTION sonde.unlocked IS 'What a server unlocks by the newest conclusive check of each platform and family';
