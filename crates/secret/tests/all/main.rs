//! Values at rest, judged by Debian's age and by what lies on the disk.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod age_program;
mod rekey;
mod rest;
mod support;
