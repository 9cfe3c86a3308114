//! Scans a root directory as an image: each finding on a line, `!` before those that refuse it, then what it took.
//! `cargo run --release -p scan --example scan_root -- DIR`
#![allow(clippy::print_stdout, reason = "a program")]

use guard::root::{Purpose, blocks_image};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("scan_root DIR")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (begun, mut refused) = (Instant::now(), 0_u32);
    let totals = scan::scan(Path::new(&root), &scan::Options { purpose: Purpose::Image, threads, until: None }, &mut |event| {
        if let scan::Event::Finding(finding) = event {
            refused += u32::from(blocks_image(finding));
            println!("{} {} {}", if blocks_image(finding) { '!' } else { ' ' }, finding.via, finding.why);
        }
    })
    .map_err(|fault| fault.message)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{} files, {} bytes, {seconds:.2} s, {refused} refused", totals.files, totals.bytes);
    Ok(())
}
