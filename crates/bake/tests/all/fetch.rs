//! Packages from a mirror on loopback that is right, lies, cuts off, or has gone. Needs apt's downloader, as a Debian machine has it.

use bake::fetch;
use model::Layout;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use store::{Lock, Store};

#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    CutOff(Vec<u8>),
    Gone,
}

/// Serves until the process ends; remembers what was asked for.
struct Mirror {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
}

impl Mirror {
    fn begin() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mirror = Mirror { port: listener.local_addr().unwrap().port(), asked: Arc::default(), answers: Arc::default() };
        let (asked, answers) = (mirror.asked.clone(), mirror.answers.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answers) = (asked.clone(), answers.clone());
                std::thread::spawn(move || serve(stream, &asked, &answers));
            }
        });
        mirror
    }

    fn answer(&self, name: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(format!("/{name}"), answer);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn serve(stream: TcpStream, asked: &Mutex<Vec<String>>, answers: &Mutex<BTreeMap<String, Answer>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let (mut path, mut from) = (String::new(), 0);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line.trim() != "" {
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap().to_string();
            }
            if let Some(range) = line.strip_prefix("Range: bytes=") {
                from = range.trim().trim_end_matches('-').parse().unwrap();
            }
            line.clear();
        }
        if path.is_empty() {
            return;
        }
        asked.lock().unwrap().push(format!("{path} {from}"));
        let answer = answers.lock().unwrap().get(&path).cloned().unwrap_or(Answer::Gone);
        match answer {
            Answer::Gone => write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap(),
            Answer::Whole(bytes) | Answer::CutOff(bytes) if from > 0 => {
                let (last, whole) = (bytes.len() - 1, bytes.len());
                write!(
                    out,
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{whole}\r\nContent-Length: {}\r\n\r\n",
                    whole - from
                )
                .unwrap();
                let _ = out.write_all(&bytes[from..]);
            }
            Answer::Whole(bytes) => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).unwrap();
                let _ = out.write_all(&bytes);
            }
            Answer::CutOff(bytes) => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).unwrap();
                let _ = out.write_all(&bytes[..bytes.len() / 2]);
                return;
            }
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let out = Command::new("sha256sum").arg(file.path()).output().unwrap();
    String::from_utf8(out.stdout).unwrap()[..64].to_string()
}

fn lock(mirror: &Mirror, packages: &[(&str, &[u8])]) -> Lock {
    let zero = format!("sha256:{}", "0".repeat(64));
    let spec = serde_json::json!({ "name": "x", "debian": "bookworm", "packages": [] });
    let mut text =
        serde_json::json!({ "lock": 1, "debian": "bookworm", "arch": "amd64", "recipe": zero, "spec": spec, "asked": 0, "indexes": [] })
            .to_string();
    for (name, bytes) in packages {
        let url = format!("http://127.0.0.1:{}/{name}", mirror.port);
        let line = serde_json::json!({ "name": name, "version": "1", "arch": "all", "suite": "s", "bytes": bytes.len(), "sha256": sha256(bytes), "url": url });
        text.push_str(&format!("\n{line}"));
    }
    Lock::parse(&text, "test").unwrap()
}

fn kept(layout: &Layout, bytes: &[u8]) -> PathBuf {
    layout.store().join("packages").join(format!("{}.deb", sha256(bytes)))
}

#[test]
fn a_mirror_is_asked_once_and_never_believed() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let store = Store::open(&layout).unwrap();
    let mirror = Mirror::begin();
    let (a, b, c) = (vec![b'a'; 300_000], vec![b'b'; 70_000], vec![b'c'; 200_000]);
    let lock = lock(&mirror, &[("a", &a), ("b", &b), ("c", &c)]);
    let mut quiet = |_| {};

    mirror.answer("a", Answer::Whole(a.clone()));
    mirror.answer("b", Answer::Whole(vec![b'x'; 70_000]));
    mirror.answer("c", Answer::Whole(c.clone()));
    let fault = fetch(&store, &lock, &mut quiet).unwrap_err();
    assert_eq!(fault.code, "mirror-lies", "{fault:?}");
    assert!(kept(&layout, &a).exists() && !kept(&layout, &b).exists(), "what was right is kept");

    // Cut off in the middle: the rest is asked for.
    mirror.answer("b", Answer::CutOff(b.clone()));
    mirror.asked();
    let done = fetch(&store, &lock, &mut quiet).unwrap();
    assert_eq!((done.had, done.fetched), (2, 1));
    assert_eq!(mirror.asked().iter().filter(|a| !a.starts_with("/b ")).count(), 0);
    assert_eq!(std::fs::read(kept(&layout, &b)).unwrap(), b);

    // The mirror dropped everything: the store answers.
    for name in ["a", "b", "c"] {
        mirror.answer(name, Answer::Gone);
    }
    assert_eq!(fetch(&store, &lock, &mut quiet).unwrap().had, 3);
    assert_eq!(mirror.asked(), Vec::<String>::new());

    // A package changed on disk, of the same size: seen, and fetched again.
    let path = kept(&layout, &c);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b'z'; c.len()]).unwrap();
    assert_eq!(fetch(&store, &lock, &mut quiet).unwrap_err().code, "package-gone");
    mirror.answer("c", Answer::Whole(c.clone()));
    fetch(&store, &lock, &mut quiet).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), c);
}

#[test]
fn half_a_package_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let store = Store::open(&layout).unwrap();
    let mirror = Mirror::begin();
    let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
    let lock = lock(&mirror, &[("p", &bytes)]);
    mirror.answer("p", Answer::Whole(bytes.clone()));
    let partial = layout.store().join("packages/partial").join(format!("{}.deb", sha256(&bytes)));
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, &bytes[..150_000]).unwrap();
    fetch(&store, &lock, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(kept(&layout, &bytes)).unwrap(), bytes);
    assert_eq!(mirror.asked(), ["/p 150000"]);
}
