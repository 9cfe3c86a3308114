//! Reads of an ELF file what the initrd needs to know: which libraries a program loads, which modules a module needs.
//! It must not run anything.

use model::Fault;
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

/// What the kernel's loader and the dynamic loader would look for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `/lib64/ld-linux-x86-64.so.2`; None: linked statically, or a library.
    pub loader: Option<String>,
    pub libraries: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// With `_`, never `-`: the kernel takes them as equal.
    pub depends: Vec<String>,
    /// Wanted before it, but only if they are there.
    pub soft: Vec<String>,
}

fn bad(what: &str, error: object::Error) -> Fault {
    Fault::yours("bad-elf", format!("{what} is no whole ELF file: {error}"))
}

pub fn program(bytes: &[u8], what: &str) -> Result<Program, Fault> {
    let read = || -> object::Result<Program> {
        let header = FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        let mut found = Program::default();
        let sections = header.sections(endian, bytes)?;
        for segment in header.program_headers(endian, bytes)? {
            if segment.p_type(endian) == PT_INTERP {
                let text = segment.data(endian, bytes).unwrap_or_default();
                found.loader = Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_string());
            }
        }
        let Some((entries, link)) = sections.dynamic(endian, bytes)? else { return Ok(found) };
        let strings = sections.strings(endian, bytes, link)?;
        for entry in entries.iter().filter(|e| e.d_tag(endian) == DT_NEEDED) {
            found.libraries.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned());
        }
        Ok(found)
    };
    read().map_err(|e| bad(what, e))
}

pub fn module(bytes: &[u8], what: &str) -> Result<Module, Fault> {
    let file = object::File::parse(bytes).map_err(|e| bad(what, e))?;
    let section = file.section_by_name(".modinfo").ok_or_else(|| Fault::yours("bad-module", format!("{what} is no kernel module")))?;
    Ok(modinfo(section.data().map_err(|e| bad(what, e))?))
}

/// `key=value` strings with zeros between.
fn modinfo(bytes: &[u8]) -> Module {
    let mut found = Module::default();
    for line in bytes.split(|b| *b == 0) {
        let line = String::from_utf8_lossy(line);
        if let Some(names) = line.strip_prefix("depends=") {
            found.depends.extend(names.split(',').filter(|n| !n.is_empty()).map(plain));
        } else if let Some(rest) = line.strip_prefix("softdep=").and_then(|l| l.trim().strip_prefix("pre:")) {
            let before = rest.split("post:").next().unwrap_or_default();
            found.soft.extend(before.split_whitespace().map(plain));
        }
    }
    found
}

pub fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modinfo_is_read() {
        let text = b"license=GPL\0depends=virtio_ring,dm-mod\0softdep=pre: crc32c post: late\0name=x\0";
        let seen = modinfo(text);
        assert_eq!(seen.depends, ["virtio_ring", "dm_mod"]);
        assert_eq!(seen.soft, ["crc32c"]);
        assert_eq!(modinfo(b"depends=\0"), Module::default());
    }

    #[test]
    fn this_very_program_says_what_it_loads() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let seen = program(&me, "me").unwrap();
        assert!(seen.libraries.iter().any(|l| l.starts_with("libc.so")), "{seen:?}");
        assert!(seen.loader.is_some());
        assert_eq!(program(&me[..100], "me").unwrap_err().code, "bad-elf");
        assert_eq!(module(b"nothing", "m").unwrap_err().code, "bad-elf");
    }
}
