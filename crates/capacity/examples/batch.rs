//! `predict --batch` without the CLI: one request a line in, one answer a line out.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a measurement holds a clock and prints"
)]

fn main() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        println!("{}", capacity::predict_batch_line(&line));
    }
}
