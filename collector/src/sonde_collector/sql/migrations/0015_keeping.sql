-- 0015: backups, what follows a restore, and the figures that `capacity` reckons with.

CREATE TABLE sonde.backups (
  id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  made_at      TIMESTAMPTZ NOT NULL,
  finished_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
  place        TEXT NOT NULL,
  bytes        BIGINT NOT NULL
);
COMMENT ON TABLE sonde.backups IS 'Backups that `sonde-collector backup` made of this database';
COMMENT ON COLUMN sonde.backups.made_at IS 'The moment it holds: what was committed later is not in it';
COMMENT ON COLUMN sonde.backups.place IS 'Its directory, as it was when the backup was made';

-- Every table of ours with its rows, counted. Each is locked first, against being dropped and nothing else, so that a
-- dump of the same snapshot finds them all.
CREATE FUNCTION sonde.exact_rows() RETURNS TABLE (name text, rows bigint)
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  tables  regclass[] := ARRAY(SELECT oid::regclass FROM pg_class
                              WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'sonde'::regnamespace)
                              ORDER BY oid::regclass::text);
  each    regclass;
BEGIN
  FOREACH each IN ARRAY tables LOOP
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', each);
  END LOOP;
  FOREACH each IN ARRAY tables LOOP
    name := each;
    EXECUTE format('SELECT count(*) FROM ONLY %s', each) INTO rows;
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION sonde.exact_rows IS 'Every table in public and sonde with its rows, counted';

-- What a database needs that was just restored and that no collector uses yet. Agents remember what came after the
-- backup: a revision that is no later than theirs would be ignored, or taken for the one they have. Sessions begin
-- anew, above any number that a connection of the lost days can hold.
CREATE FUNCTION sonde.after_restore(made_at timestamptz DEFAULT NULL, place text DEFAULT '', bytes bigint DEFAULT 0)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE sonde.assignments
  SET revision = greatest(revision + 1, extract(epoch FROM clock_timestamp())::bigint), updated_at = now();
  UPDATE sonde.streams SET session = session + 1000000000, instance = NULL, live_until = NULL;
  IF made_at IS NOT NULL THEN
    INSERT INTO sonde.backups (made_at, place, bytes) VALUES (made_at, place, bytes);
  END IF;
  INSERT INTO sonde.events (kind, subject, detail, data, dedup, severity)
  VALUES ('database_restored', 'database',
          'the database was restored' || coalesce(' as it was at ' || to_char(made_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), '')
            || '; agents send again what it lacks, as far as their history reaches',
          jsonb_build_object('made_at', made_at, 'place', place),
          'database_restored/' || clock_timestamp(), 'info');
END $$;
COMMENT ON FUNCTION sonde.after_restore IS 'To be called once on a restored database, before a collector uses it';

-- What each table takes, a row a partition. Small ones are counted; of others the planner's figure, drawn out to the
-- pages there are now. empty_bytes: what the same table takes without any row.
CREATE FUNCTION sonde.table_sizes(counted_bytes bigint DEFAULT 33554432)
RETURNS TABLE (parent text, name text, bytes bigint, empty_bytes bigint, rows bigint, counted boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
  each  record;
BEGIN
  FOR each IN
    SELECT c.oid::regclass AS which, coalesce(pg_partition_root(c.oid), c.oid)::regclass::text AS root,
           c.reltuples, c.relpages, pg_relation_size(c.oid) AS heap, pg_total_relation_size(c.oid) AS whole,
           current_setting('block_size')::bigint
             * ((SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) + (c.reltoastrelid <> 0)::int) AS bare
    FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace IN ('public'::regnamespace, 'sonde'::regnamespace)
    ORDER BY 2, 1
  LOOP
    parent := each.root;
    name := each.which;
    bytes := each.whole;
    empty_bytes := each.bare;
    counted := each.heap <= counted_bytes OR each.reltuples < 0 OR each.relpages = 0;
    IF counted THEN
      EXECUTE format('SELECT count(*) FROM ONLY %s', each.which) INTO rows;
    ELSE
      rows := each.reltuples * (each.heap / current_setting('block_size')::float8) / each.relpages;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION sonde.table_sizes IS 'Bytes and rows of every table in public and sonde, a row a partition';

-- How many rows each table has of a time, in how many of its buckets, and how old its oldest is.
CREATE FUNCTION sonde.row_rates(tables text[], columns text[], widths text[], since timestamptz[])
RETURNS TABLE (name text, rows bigint, buckets bigint, first_at timestamptz, oldest_at timestamptz)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  FOR i IN 1 .. coalesce(array_length(tables, 1), 0) LOOP
    name := tables[i];
    EXECUTE format('SELECT min(%1$I) FROM %2$s', columns[i], tables[i]::regclass) INTO oldest_at;
    EXECUTE format('SELECT count(*), count(DISTINCT date_trunc(%3$L, %1$I, ''UTC'')), min(%1$I) FROM %2$s '
                   'WHERE %1$I >= $1 AND %1$I <= now()', columns[i], tables[i]::regclass, widths[i])
      INTO rows, buckets, first_at USING since[i];
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION sonde.row_rates IS 'Rows of each table since a time, the buckets they lie in, and when its rows begin';
