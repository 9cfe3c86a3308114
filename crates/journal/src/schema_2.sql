
-- What a service's closed journals come to, so that status does not fold a hundred of them. Derived, and derived again from
-- the journals where it does not cover the last closed rotation.
CREATE TABLE summaries (
  service  TEXT PRIMARY KEY,
  rotation INTEGER NOT NULL,
  in_force INTEGER NOT NULL,
  known    TEXT NOT NULL,
  sum      INTEGER NOT NULL
) STRICT;
