-- Limits of vantages: what was met, what of a day's quota is spent.

-- name: limits_met
INSERT INTO sonde.limits_met (probe_id, what, detail)
SELECT p.id, met.what, met.detail
FROM unnest(%(vantages)s::text[], %(limits)s::text[], %(details)s::text[]) AS met (vantage, what, detail)
JOIN probe_locations AS p ON p.code = met.vantage
ORDER BY p.id, met.what
ON CONFLICT (probe_id, what) DO UPDATE SET last_at = now(), detail = excluded.detail,
  first_at = CASE WHEN limits_met.last_at < now() - interval '10 minutes' THEN now() ELSE limits_met.first_at END;

-- name: limits_forget
WITH days AS (DELETE FROM sonde.rejected_bytes WHERE day < (now() AT TIME ZONE 'UTC')::date - 1)
DELETE FROM sonde.limits_met WHERE last_at < now() - interval '1 day';

-- name: limits_rejected
-- Who had more set aside today than may be.
SELECT p.code, r.bytes FROM sonde.rejected_bytes AS r JOIN probe_locations AS p ON p.id = r.probe_id
WHERE r.day = (now() AT TIME ZONE 'UTC')::date AND r.bytes > %(most)s;
