//! Every fault that a bake can meet, on the built product: exit, code, the place in the message, what to do in the hint, nothing
//! half-made left, and the next run recovers. One small signed repository of our own on loopback; no other network.
//!
//! `cargo test -p afresh --test all faults:: -- --ignored --nocapture --test-threads 1` as root prints what each fault says.

mod damage;
mod deb;
mod disk;
mod elsewhere;
mod escape;
mod house;
mod kills;
mod mirror_faults;
mod sandbox;
mod scripts;
