-- 0009: how all that is watched is doing, and what an event says besides its text.

-- One row for each server, target and origin group that was judged. Kept by the health loop; all others read.
CREATE TABLE sonde.health_states (
  object      TEXT NOT NULL CHECK (object IN ('server', 'target', 'origin_group')),
  key         TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('HEALTHY', 'DEGRADED', 'UNHEALTHY', 'UNKNOWN')),
  since       TIMESTAMPTZ NOT NULL,
  reason      TEXT NOT NULL,
  checked_at  TIMESTAMPTZ NOT NULL,
  flapping    BOOLEAN NOT NULL DEFAULT false,
  held        BOOLEAN NOT NULL DEFAULT false,
  data        JSONB NOT NULL DEFAULT '{}',
  PRIMARY KEY (object, key)
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.health_states IS 'How each server, target and origin group is doing, judged from all vantages';
COMMENT ON COLUMN sonde.health_states.key IS 'The inventory''s stable key';
COMMENT ON COLUMN sonde.health_states.state IS 'UNKNOWN: no vantage that is fit to judge has measured it lately';
COMMENT ON COLUMN sonde.health_states.since IS 'When it came into this state';
COMMENT ON COLUMN sonde.health_states.reason IS 'Why, in words; '''' where there is nothing to say';
COMMENT ON COLUMN sonde.health_states.flapping IS 'It changes so often that changes are told no more until it rests';
COMMENT ON COLUMN sonde.health_states.held IS 'Its provider fails as a whole: its state stays until that is judged';
COMMENT ON COLUMN sonde.health_states.data IS 'What the state machine carries from turn to turn, and what each vantage says';

-- An event that begins something and the one that ends it share a topic.
ALTER TABLE sonde.events
  ADD COLUMN severity  TEXT NOT NULL DEFAULT 'warning' CHECK (severity IN ('info', 'warning', 'critical')),
  ADD COLUMN topic     TEXT,
  ADD COLUMN resolved  BOOLEAN NOT NULL DEFAULT false;
COMMENT ON COLUMN sonde.events.kind IS 'One word, such as health_changed or credential_refused';
COMMENT ON COLUMN sonde.events.subject IS 'What it is about: the stable key of a server, target, group, provider, vantage or credential';
COMMENT ON COLUMN sonde.events.topic IS 'KIND/SUBJECT of what lasts: the same when it begins and when it ends; NULL = it is over at once';
COMMENT ON COLUMN sonde.events.resolved IS 'What the topic names has ended';
UPDATE sonde.events
SET topic = 'credential_refused/' || subject, resolved = (kind = 'credential_resumed'),
    severity = CASE kind WHEN 'credential_refused' THEN 'critical' ELSE 'info' END
WHERE kind IN ('credential_refused', 'credential_resumed');

-- As in 0005, with topic and severity.
CREATE OR REPLACE FUNCTION sonde.account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  names  text[];
  since  timestamptz;
BEGIN
  IF (NEW.provider_id, NEW.sessions, NEW.logins_per_minute, NEW.same_key_twice, NEW.linger_s, NEW.is_active)
     IS DISTINCT FROM
     (OLD.provider_id, OLD.sessions, OLD.logins_per_minute, OLD.same_key_twice, OLD.linger_s, OLD.is_active) THEN
    NEW.state := 'ok';
    NEW.updated_at := now();
  END IF;
  IF NEW.state = OLD.state THEN
    RETURN NEW;
  END IF;
  SELECT coalesce(array_agg(server ORDER BY at, server), '{}') INTO names
  FROM sonde.auth_failures WHERE credential = NEW.credential;
  IF NEW.state = 'refused' THEN
    NEW.refused_at := clock_timestamp();
    INSERT INTO sonde.refusals (credential, refused_at, since, servers)
    VALUES (NEW.credential, NEW.refused_at, NEW.connected_at, names);
    INSERT INTO sonde.events (at, kind, subject, detail, data, dedup, severity, topic)
    VALUES (NEW.refused_at, 'credential_refused', NEW.credential,
            format('the provider refuses credential "%s" on %s; its runs wait until `sonde-collector credentials resume %s`',
                   NEW.credential, array_to_string(names, ', '), NEW.credential),
            jsonb_build_object('servers', names, 'connected_at', NEW.connected_at),
            format('credential_refused/%s/%s', NEW.credential, NEW.refused_at), 'critical',
            'credential_refused/' || NEW.credential)
    ON CONFLICT (dedup) DO NOTHING;
  ELSE
    since := NEW.refused_at;
    NEW.refused_at := NULL;
    DELETE FROM sonde.auth_failures WHERE credential = NEW.credential;
    UPDATE sonde.refusals SET ended_at = clock_timestamp() WHERE credential = NEW.credential AND ended_at IS NULL;
    INSERT INTO sonde.events (kind, subject, detail, data, dedup, severity, topic, resolved)
    VALUES ('credential_resumed', NEW.credential, format('credential "%s" is tried again', NEW.credential),
            jsonb_build_object('refused_at', since), format('credential_resumed/%s/%s', NEW.credential, since), 'info',
            'credential_refused/' || NEW.credential, true)
    ON CONFLICT (dedup) DO NOTHING;
  END IF;
  RETURN NEW;
END $$;
