-- name: identity_lock
-- Issuing for a vantage and revoking it go one after the other.
SELECT id, coalesce(is_active, false) FROM probe_locations WHERE code = %(vantage)s FOR NO KEY UPDATE;

-- name: identity_add_token
-- The newest token of a vantage is its only one.
WITH voided AS (
  UPDATE sonde.enrolment_tokens SET voided_at = now()
  WHERE probe_id = %(probe)s AND used_at IS NULL AND voided_at IS NULL AND expires_at > now()
)
INSERT INTO sonde.enrolment_tokens (probe_id, hash, expires_at)
VALUES (%(probe)s, %(hash)s, now() + %(for_s)s::float8 * interval '1 second')
RETURNING expires_at;

-- name: identity_token
SELECT t.id, p.code, t.used_at, t.voided_at, t.expires_at, t.expires_at <= clock_timestamp() AS expired
FROM sonde.enrolment_tokens AS t JOIN probe_locations AS p ON p.id = t.probe_id
WHERE t.hash = %(hash)s
FOR UPDATE OF t;

-- name: identity_use_token
UPDATE sonde.enrolment_tokens SET used_at = clock_timestamp() WHERE id = %(id)s;

-- name: identity_issued
INSERT INTO sonde.certificates (serial, probe_id, not_before, not_after, token_id, replaces, ca_sha256)
VALUES (%(serial)s, %(probe)s, %(not_before)s, %(not_after)s, %(token)s, %(replaces)s, %(ca_sha256)s);

-- name: identity_revocation
-- Why this certificate may not speak for its vantage any more; no row if it may.
SELECT r.revoked_at, r.reason
FROM sonde.revocations AS r
WHERE r.probe_id = %(probe)s AND NOT EXISTS (
  SELECT FROM sonde.certificates AS c
  WHERE c.probe_id = r.probe_id AND c.serial = %(serial)s AND c.issued_at > r.revoked_at);

-- name: identity_revoke
INSERT INTO sonde.revocations (probe_id, reason) VALUES (%(probe)s, %(reason)s)
ON CONFLICT (probe_id) DO UPDATE SET revoked_at = clock_timestamp(), reason = excluded.reason;

-- name: identity_void_tokens
UPDATE sonde.enrolment_tokens SET voided_at = now()
WHERE probe_id = %(probe)s AND used_at IS NULL AND voided_at IS NULL;

-- name: identity_unrevoke
DELETE FROM sonde.revocations WHERE probe_id = %(probe)s;

-- name: identity_event
INSERT INTO sonde.events (kind, subject, detail, data, severity, topic, resolved)
VALUES ('agent_revoked', %(vantage)s, %(detail)s, jsonb_build_object('reason', %(reason)s::text),
  CASE WHEN %(over)s THEN 'info' ELSE 'warning' END, 'agent_revoked/' || %(vantage)s::text, %(over)s);

-- name: identity_listen
LISTEN sonde_identity;

-- name: identity_revocations
-- Every revoked vantage, and the certificates that it got since.
SELECT p.code, r.revoked_at, r.reason,
  ARRAY(SELECT c.serial FROM sonde.certificates AS c
        WHERE c.probe_id = r.probe_id AND c.issued_at > r.revoked_at AND c.not_after > now()) AS since
FROM sonde.revocations AS r JOIN probe_locations AS p ON p.id = r.probe_id;
