CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;

CREATE TABLE services (
  name          TEXT PRIMARY KEY,
  generation    INTEGER NOT NULL,
  rotation_last INTEGER NOT NULL,
  sum           INTEGER NOT NULL
) STRICT;

-- Every generation of a desired state; services.generation names the newest.
CREATE TABLE history (
  service    TEXT NOT NULL REFERENCES services (name),
  generation INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  by         TEXT NOT NULL,
  spec       TEXT NOT NULL,
  sum        INTEGER NOT NULL,
  PRIMARY KEY (service, generation)
) STRICT;

CREATE TABLE releases (
  service TEXT NOT NULL,
  number  INTEGER NOT NULL,
  digest  TEXT NOT NULL,
  at      INTEGER NOT NULL,
  body    TEXT NOT NULL,
  sum     INTEGER NOT NULL,
  PRIMARY KEY (service, number),
  UNIQUE (service, digest)
) STRICT;

CREATE TABLE rollouts (
  number INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  plan   TEXT NOT NULL,
  ended  TEXT,
  why    TEXT,
  sum    INTEGER NOT NULL
) STRICT;

-- An index over the journals: closed_seq is the place of the Closed line.
CREATE TABLE rotations (
  id         TEXT PRIMARY KEY,
  service    TEXT NOT NULL REFERENCES services (name),
  number     INTEGER NOT NULL,
  rollout    INTEGER REFERENCES rollouts (number),
  closed_seq INTEGER,
  sum        INTEGER NOT NULL,
  UNIQUE (service, number)
) STRICT;

CREATE UNIQUE INDEX rotations_open ON rotations (service) WHERE closed_seq IS NULL;
CREATE UNIQUE INDEX rotations_rollout ON rotations (rollout, service) WHERE rollout IS NOT NULL;

CREATE TABLE events (
  number   INTEGER PRIMARY KEY AUTOINCREMENT,
  rotation TEXT NOT NULL REFERENCES rotations (id),
  seq      INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  fence    INTEGER NOT NULL,
  body     TEXT NOT NULL,
  sum      INTEGER NOT NULL,
  UNIQUE (rotation, seq)
) STRICT;

CREATE TABLE asks (
  rotation TEXT NOT NULL REFERENCES rotations (id),
  n        INTEGER NOT NULL,
  ask      TEXT NOT NULL,
  by       TEXT NOT NULL,
  at       INTEGER NOT NULL,
  sum      INTEGER NOT NULL,
  PRIMARY KEY (rotation, n)
) STRICT;

CREATE TABLE leases (
  service TEXT PRIMARY KEY,
  holder  TEXT NOT NULL,
  fence   INTEGER NOT NULL,
  until   INTEGER NOT NULL,
  sum     INTEGER NOT NULL
) STRICT;
