//! Pure: which server gets a request; health and in-flight accounts.
