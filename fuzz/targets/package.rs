//! Any bytes as a `.deb`: it is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = bake::read_package(bytes);
});
