-- Names that services have or had beside their ids. `current`: what users call it; a service without such a row is called by its id.
CREATE TABLE names (
  name    TEXT PRIMARY KEY,
  service TEXT NOT NULL,
  current INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  by      TEXT NOT NULL,
  sum     INTEGER NOT NULL
) STRICT;
