-- The spool, format 1. For every stream: floor_seq <= acked_seq <= highest seq, and each seq above floor_seq is
-- either a row of results or inside a gap. Rows up to acked_seq are history; nothing but history, and what a
-- bound drops with a gap in its place, is ever deleted.

-- Which file this is: a copy has another inode or another time of birth.
CREATE TABLE file (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  device INTEGER NOT NULL,
  inode  INTEGER NOT NULL,
  born   INTEGER NOT NULL  -- ns since 1970; 0 where the system does not say
) STRICT;

-- The last one takes new results, the others only drain.
CREATE TABLE streams (
  id          INTEGER PRIMARY KEY,
  epoch       BLOB NOT NULL UNIQUE,
  copied      INTEGER NOT NULL DEFAULT 0,
  floor_seq   INTEGER NOT NULL DEFAULT 0,
  floor_chain BLOB NOT NULL DEFAULT x'',
  acked_seq   INTEGER NOT NULL DEFAULT 0,
  acked_chain BLOB NOT NULL DEFAULT x'',
  database_id BLOB NOT NULL DEFAULT x'',  -- the database that acked_seq is committed in
  refused     TEXT NOT NULL DEFAULT '',   -- why the collector does not take this stream
  aside       INTEGER NOT NULL DEFAULT 0  -- an operator gave it up: never sent again
) STRICT;

-- The assignment that results were measured under.
CREATE TABLE origins (
  id          INTEGER PRIMARY KEY,
  database_id BLOB NOT NULL,
  revision    INTEGER NOT NULL,
  UNIQUE (database_id, revision)
) STRICT;

CREATE TABLE results (
  stream      INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  measured_us INTEGER NOT NULL,
  origin      INTEGER NOT NULL,
  body        BLOB NOT NULL,     -- sonde.v1.Result, serialised
  chain       BLOB NOT NULL,     -- chain up to and including this row
  crc         INTEGER NOT NULL,  -- CRC-32 of body and chain: tells a damaged row from its neighbours
  PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
  stream    INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  reason    INTEGER NOT NULL,  -- sonde.v1.GapReason
  from_us   INTEGER,
  until_us  INTEGER,
  chain     BLOB NOT NULL,     -- chain up to last_seq
  PRIMARY KEY (stream, first_seq)
) STRICT, WITHOUT ROWID;

-- Results that the collector could not read, for a person to look at.
CREATE TABLE quarantine (
  stream      INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  measured_us INTEGER NOT NULL,
  body        BLOB NOT NULL,
  reason      TEXT NOT NULL,
  PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

-- How far a stream was acked by the end of a minute: the age of history counts from its ack.
CREATE TABLE acks (
  stream INTEGER NOT NULL,
  at_us  INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (stream, at_us)
) STRICT, WITHOUT ROWID;
