-- Commands that ran beside a service's servers. `over`: nothing of it is left on the host; until then somebody must look after it.
CREATE TABLE runs (
  service TEXT NOT NULL,
  number  INTEGER NOT NULL,
  job     TEXT,
  over    INTEGER NOT NULL,
  body    TEXT NOT NULL,
  sum     INTEGER NOT NULL,
  PRIMARY KEY (service, number)
) STRICT;

CREATE INDEX runs_open ON runs (service, number) WHERE over = 0;
CREATE INDEX runs_job ON runs (service, job, number) WHERE job IS NOT NULL;

-- What is remembered of a job beside its runs: what was due last, who paused it.
CREATE TABLE jobs (
  service TEXT NOT NULL,
  name    TEXT NOT NULL,
  body    TEXT NOT NULL,
  sum     INTEGER NOT NULL,
  PRIMARY KEY (service, name)
) STRICT;

-- An index over the journals: releases whose migration has succeeded.
CREATE TABLE migrations (
  service  TEXT NOT NULL,
  digest   TEXT NOT NULL,
  rotation TEXT NOT NULL,
  at       INTEGER NOT NULL,
  sum      INTEGER NOT NULL,
  PRIMARY KEY (service, digest)
) STRICT;
