-- 0004: what a run through a tunnel, or a throughput run, adds to its headline row. Adding nullable columns rewrites
-- nothing.

ALTER TABLE performance_logs
  ADD COLUMN detail             TEXT,
  ADD COLUMN resolve_ms         REAL,
  ADD COLUMN transport_ms       REAL,
  ADD COLUMN handshake_ms       REAL,
  ADD COLUMN auth_ms            REAL,
  ADD COLUMN configured_ms      REAL,
  ADD COLUMN first_byte_ms      REAL,
  ADD COLUMN exit_address       TEXT,
  ADD COLUMN backend            TEXT,
  ADD COLUMN credential         TEXT,
  ADD COLUMN engine             TEXT,
  ADD COLUMN streams            INT,
  ADD COLUMN download_p50_mbps  REAL,
  ADD COLUMN download_p90_mbps  REAL,
  ADD COLUMN upload_p50_mbps    REAL,
  ADD COLUMN upload_p90_mbps    REAL,
  ADD COLUMN loaded_ping_ms     REAL,
  ADD COLUMN tcp_min_rtt_ms     REAL,
  ADD COLUMN retransmits        INT,
  ADD COLUMN down_bytes         BIGINT,
  ADD COLUMN up_bytes           BIGINT;

ALTER TABLE sonde.performance_held
  ADD COLUMN detail             TEXT,
  ADD COLUMN resolve_ms         REAL,
  ADD COLUMN transport_ms       REAL,
  ADD COLUMN handshake_ms       REAL,
  ADD COLUMN auth_ms            REAL,
  ADD COLUMN configured_ms      REAL,
  ADD COLUMN first_byte_ms      REAL,
  ADD COLUMN exit_address       TEXT,
  ADD COLUMN backend            TEXT,
  ADD COLUMN credential         TEXT,
  ADD COLUMN engine             TEXT,
  ADD COLUMN streams            INT,
  ADD COLUMN download_p50_mbps  REAL,
  ADD COLUMN download_p90_mbps  REAL,
  ADD COLUMN upload_p50_mbps    REAL,
  ADD COLUMN upload_p90_mbps    REAL,
  ADD COLUMN loaded_ping_ms     REAL,
  ADD COLUMN tcp_min_rtt_ms     REAL,
  ADD COLUMN retransmits        INT,
  ADD COLUMN down_bytes         BIGINT,
  ADD COLUMN up_bytes           BIGINT;

COMMENT ON COLUMN performance_logs.detail IS 'Why it failed, in words';
COMMENT ON COLUMN performance_logs.resolve_ms IS 'Name of the server to address';
COMMENT ON COLUMN performance_logs.transport_ms IS 'First packet to first answer';
COMMENT ON COLUMN performance_logs.handshake_ms IS 'Key exchange: WireGuard, TLS of OpenVPN, IKE_SA_INIT';
COMMENT ON COLUMN performance_logs.auth_ms IS 'IKE_AUTH, or OpenVPNs push request answered';
COMMENT ON COLUMN performance_logs.configured_ms IS 'Address and routes in place';
COMMENT ON COLUMN performance_logs.first_byte_ms IS 'First answer through the tunnel, after it was configured';
COMMENT ON COLUMN performance_logs.exit_address IS 'The address by which the world saw the tunnel';
COMMENT ON COLUMN performance_logs.backend IS 'wireguard-kernel, wireguard-go, openvpn, ikev2; probe = handshake only';
COMMENT ON COLUMN performance_logs.credential IS 'Name of the account';
COMMENT ON COLUMN performance_logs.loaded_ping_ms IS 'Median RTT while loaded, of the worse direction';
COMMENT ON COLUMN performance_logs.tcp_min_rtt_ms IS 'TCP_INFO';
COMMENT ON COLUMN performance_logs.retransmits IS 'TCP_INFO, of our sending';
COMMENT ON COLUMN performance_logs.down_bytes IS 'All that the run received, its ramp-up too';
COMMENT ON COLUMN performance_logs.up_bytes IS 'All that the run sent, its ramp-up too';
COMMENT ON COLUMN sonde.performance_held.detail IS 'Why it failed, in words';
COMMENT ON COLUMN sonde.performance_held.resolve_ms IS 'Name of the server to address';
COMMENT ON COLUMN sonde.performance_held.transport_ms IS 'First packet to first answer';
COMMENT ON COLUMN sonde.performance_held.handshake_ms IS 'Key exchange: WireGuard, TLS of OpenVPN, IKE_SA_INIT';
COMMENT ON COLUMN sonde.performance_held.auth_ms IS 'IKE_AUTH, or OpenVPNs push request answered';
COMMENT ON COLUMN sonde.performance_held.configured_ms IS 'Address and routes in place';
COMMENT ON COLUMN sonde.performance_held.first_byte_ms IS 'First answer through the tunnel, after it was configured';
COMMENT ON COLUMN sonde.performance_held.exit_address IS 'The address by which the world saw the tunnel';
COMMENT ON COLUMN sonde.performance_held.backend IS 'wireguard-kernel, wireguard-go, openvpn, ikev2; probe = handshake only';
COMMENT ON COLUMN sonde.performance_held.credential IS 'Name of the account';
COMMENT ON COLUMN sonde.performance_held.loaded_ping_ms IS 'Median RTT while loaded, of the worse direction';
COMMENT ON COLUMN sonde.performance_held.tcp_min_rtt_ms IS 'TCP_INFO';
COMMENT ON COLUMN sonde.performance_held.retransmits IS 'TCP_INFO, of our sending';
COMMENT ON COLUMN sonde.performance_held.down_bytes IS 'All that the run received, its ramp-up too';
COMMENT ON COLUMN sonde.performance_held.up_bytes IS 'All that the run sent, its ramp-up too';

-- The bits of sonde_proto.quality, by name, lowest first; a bit this schema does not know is "bit_N".
CREATE OR REPLACE FUNCTION sonde.quality_flags(quality int) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(coalesce(
    (ARRAY['user_stamps', 'success_by_ping', 'not_ready', 'clock_stepped', 'insecure', 'body_capped', 'raw_socket',
           'cpu_limited', 'byte_bound', 'rate_capped', 'exit_unknown', 'handshake_only'])[bit + 1], 'bit_' || bit) ORDER BY bit), '{}')
  FROM generate_series(0, 30) AS bit
  WHERE quality & (1 << bit) <> 0
$$;
