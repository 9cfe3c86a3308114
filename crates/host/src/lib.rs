//! Provider on one Linux host: keeper, OCI runtime, network.
