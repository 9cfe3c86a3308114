//! Any text as a service file: the reader never panics, and what it accepts means the same once formatted and once written again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in ["afresh.hcl", "afresh.json"] {
        match config::parse(text, name) {
            Err(diagnostics) => {
                assert!(!diagnostics.is_empty(), "refused without a reason");
                config::render(&diagnostics, text, name, false);
            }
            Ok(file) => {
                let written = config::write(&file);
                assert_eq!(config::parse(&written, "afresh.hcl").as_ref(), Ok(&file), "written again:\n{written}");
                if name == "afresh.hcl" {
                    let formatted = config::format(text).expect("what is read can be formatted");
                    assert_eq!(config::parse(&formatted, name).as_ref(), Ok(&file), "formatted:\n{formatted}");
                    assert_eq!(config::format(&formatted).as_ref(), Ok(&formatted), "formatting twice changes something");
                }
            }
        }
    }
});
