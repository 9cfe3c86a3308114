//! The journal, leases and records, in SQLite.
