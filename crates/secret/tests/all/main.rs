//! Values at rest, judged by Debian's age and by what lies on the disk.

mod age_program;
mod rekey;
mod rest;
mod support;
