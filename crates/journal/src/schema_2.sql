
-- What a service's closed journals come to, so that nobody folds a hundred of them to show how it stands. Derived, and made again
-- from the journals where it does not cover the last closed rotation.
CREATE TABLE summaries (
  service  TEXT PRIMARY KEY,
  rotation INTEGER NOT NULL,
  in_force INTEGER NOT NULL,
  known    TEXT NOT NULL,
  sum      INTEGER NOT NULL
) STRICT;
