//! Package files written byte by byte: no tool packs what a hostile one holds.

pub struct Entry {
    kind: u8,
    name: String,
    link: String,
    mode: u32,
    /// What the head says; more than the body has in a lie.
    size: u64,
    body: Vec<u8>,
}

impl Entry {
    fn new(kind: u8, name: &str) -> Entry {
        Entry { kind, name: name.into(), link: String::new(), mode: 0o644, size: 0, body: Vec::new() }
    }

    pub fn file(name: &str, text: &str) -> Entry {
        Entry { size: text.len() as u64, body: text.as_bytes().to_vec(), ..Entry::new(b'0', name) }
    }

    pub fn script(name: &str, text: &str) -> Entry {
        Entry { mode: 0o755, ..Entry::file(name, text) }
    }

    pub fn setuid(name: &str, text: &str) -> Entry {
        Entry { mode: 0o4755, ..Entry::file(name, text) }
    }

    pub fn dir(name: &str) -> Entry {
        Entry { mode: 0o755, ..Entry::new(b'5', name) }
    }

    pub fn link(name: &str, to: &str) -> Entry {
        Entry { link: to.into(), mode: 0o777, ..Entry::new(b'2', name) }
    }

    pub fn device(name: &str, block: bool) -> Entry {
        Entry::new(if block { b'4' } else { b'3' }, name)
    }

    pub fn sized(name: &str, size: u64) -> Entry {
        Entry { size, ..Entry::new(b'0', name) }
    }

    /// The name of the entry after it, in GNU's way.
    pub fn long(name: &str) -> Entry {
        Entry { kind: b'L', ..Entry::file("././@LongLink", &format!("./opt/{name}\0")) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = [0u8; 512];
        let mut put = |at: usize, text: &[u8]| head[at..at + text.len()].copy_from_slice(text);
        // What is longer than a head's field stands in the field for prefixes.
        let split = if self.name.len() > 100 { self.name[..self.name.len() - 1].rfind('/').unwrap_or(0) } else { 0 };
        let (prefix, name) = if split > 0 { (&self.name[..split], &self.name[split + 1..]) } else { ("", self.name.as_str()) };
        put(0, name.as_bytes());
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.size.min(0o77_777_777_777)).as_bytes());
        put(136, b"14000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, b"ustar\x0000");
        // /dev/sda is 8:0, /dev/mem is 1:1.
        put(329, if self.kind == b'4' { b"0000010\0" } else { b"0000001\0" });
        put(337, if self.kind == b'4' { b"0000000\0" } else { b"0000001\0" });
        put(345, prefix.as_bytes());
        let sum: u32 = head.iter().map(|b| u32::from(*b)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut all = head.to_vec();
        all.extend(&self.body);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }
}

fn tar(entries: &[&Entry]) -> Vec<u8> {
    let mut all: Vec<u8> = entries.iter().flat_map(|e| e.bytes()).collect();
    all.resize(all.len() + 1024, 0);
    all
}

/// A package of these entries, its parts in this order; `late`: with a preinst.
pub fn deb(control: &str, late: bool, entries: &[Entry], order: &[&str]) -> Vec<u8> {
    let mut meta = vec![Entry::file("./control", control)];
    if late {
        meta.push(Entry::script("./preinst", "#!/bin/sh\nexit 0\n"));
    }
    let mut all = b"!<arch>\n".to_vec();
    for part in order {
        let body = match *part {
            "debian-binary" => b"2.0\n".to_vec(),
            "control.tar" => tar(&meta.iter().collect::<Vec<_>>()),
            _ => tar(&entries.iter().collect::<Vec<_>>()),
        };
        all.extend(format!("{part:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 1_700_000_000, 0, 0, "100644", body.len()).as_bytes());
        all.extend(&body);
        if body.len() % 2 == 1 {
            all.push(b'\n');
        }
    }
    all
}
