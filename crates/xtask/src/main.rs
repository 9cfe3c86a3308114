//! `cargo run -p xtask` prints the lines of code of each crate, tests apart; `-- circles` the circles
//! between files; `cargo run -p xtask -- mutants [FILTER]` runs the
//! mutation tests.

use std::collections::BTreeMap;

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|verb| verb == "mutants") {
        let filter = args.get(1).map_or("", String::as_str);
        let all_killed = xtask::mutants::run(&xtask::root().canonicalize()?, filter)?;
        std::process::exit(i32::from(!all_killed));
    }
    if args.first().is_some_and(|verb| verb == "circles") {
        xtask::circles_of_files(&xtask::root().canonicalize()?)?.iter().for_each(|circle| println!("{circle}"));
        return Ok(());
    }
    let mut crates: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    for (path, text) in xtask::sources(&xtask::root().canonicalize()?)? {
        let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let row = crates.entry(parts[1].clone()).or_default();
        row.0 += 1;
        let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(&text);
        let of_tests = parts.iter().any(|p| p == "tests" || p == "tests.rs" || p == "examples");
        let all = xtask::code_lines(&text);
        let code = if of_tests { 0 } else { xtask::code_lines(body) };
        row.1 += code;
        row.2 += all - code;
    }
    println!("{:<10} {:>6} {:>7} {:>7}", "crate", "files", "code", "tests");
    let mut sum = (0, 0, 0);
    for (name, (files, code, tests)) in &crates {
        println!("{name:<10} {files:>6} {code:>7} {tests:>7}");
        sum = (sum.0 + files, sum.1 + code, sum.2 + tests);
    }
    println!("{:<10} {:>6} {:>7} {:>7}", "all", sum.0, sum.1, sum.2);
    Ok(())
}
