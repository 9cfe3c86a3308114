//! Proves that a disk boots: QEMU with UEFI firmware, an emulated processor, and a GET that must be answered by the service.
//! It must not use /dev/kvm (that it can be opened proves nothing), must not write to the disk, and kills QEMU by its own id only.
//!
//! ```text
//! start ─▶ wait ─▶ answered 2xx or 3xx ─▶ (power button ─▶ wait for the end) ─▶ kill ─▶ report
//!           ├──▶ QEMU ended (panic: the guest asked for a restart) ─▶ fault with the console's end
//!           └──▶ too late ─▶ kill ─▶ fault with the console's end
//! ```

use disk::files;
use model::Fault;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use store::program;

const QEMU: &str = "qemu-system-x86_64";
const FIRMWARE: [&str; 2] = ["/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd"];
const EVERY: Duration = Duration::from_millis(200);
const ANSWER_MAX: u64 = 64 << 10;
/// A console that says more than this is shown from its end.
const CONSOLE_MAX: u64 = 4 << 20;
/// Lines of it that a fault shows.
const CONSOLE_LINES: usize = 25;

pub struct Proof<'a> {
    pub disk: &'a Path,
    /// A disk made by [`super::volume`], for a disk that does not hold the service's code.
    pub artifact: Option<&'a Path>,
    /// The service's, inside the machine.
    pub port: u16,
    /// What is asked for: `/healthz`.
    pub path: &'a str,
    pub within: Duration,
    pub memory_mib: u32,
    /// Then press the power button: the machine must end within this.
    pub off_within: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct BootReport {
    /// From the start of QEMU to the whole answer.
    pub seconds_to_http: f64,
    /// From the power button to the end, where that was asked for.
    pub seconds_to_off: Option<f64>,
    /// The answer as it came, head and body.
    pub answer: String,
    /// What the machine wrote on its serial line.
    pub console: String,
}

/// Blocking. `within` counts from the start of QEMU.
pub fn prove(disk: &Path, artifact: Option<&Path>, port: u16, within: Duration) -> Result<BootReport, Fault> {
    run(&Proof { disk, artifact, port, path: "/", within, memory_mib: 1024, off_within: None })
}

pub fn run(proof: &Proof) -> Result<BootReport, Fault> {
    if !proof.path.starts_with('/') || proof.path.contains(|c: char| c.is_control() || c == ' ') {
        return Err(Fault::yours("bad-path", format!("{:?} is no path to ask for", proof.path)).hint("it begins with / and has no spaces"));
    }
    let firmware = FIRMWARE.iter().map(Path::new).find(|p| p.is_file()).ok_or_else(|| program::tool_missing("ovmf"))?;
    program::need(&[QEMU, "setpriv"]).map_err(|f| f.hint("apt-get install qemu-system-x86 ovmf"))?;
    let dir =
        tempfile::Builder::new().prefix("afresh-boot-").tempdir().map_err(files::at("cannot make", Path::new("a temporary directory")))?;
    let console = dir.path().join("console");
    // Someone may take the port between our letting it go and QEMU's taking it: then another one.
    for _ in 0..3 {
        let begun = Instant::now();
        let mut machine = start(proof, firmware, &console)?;
        match wait(proof, &mut machine, begun, &console)? {
            Seen::Answer(answer) => {
                let seconds_to_http = program::seconds_since(begun);
                let seconds_to_off = proof.off_within.map(|within| power_off(&mut machine, within, &console)).transpose()?;
                drop(machine);
                return Ok(BootReport { seconds_to_http, seconds_to_off, answer, console: read_console(&console) });
            }
            Seen::PortTaken => {}
        }
    }
    Err(Fault::world("no-port", "three free ports in turn were taken by others before QEMU could"))
}

/// QEMU, killed and waited for when this goes.
struct Machine {
    child: Child,
    port: u16,
    said: PathBuf,
    /// Where it takes orders.
    orders: PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(proof: &Proof, firmware: &Path, console: &Path) -> Result<Machine, Fault> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .map_err(|e| Fault::world("no-port", format!("no free port on the loopback: {e}")))?
        .port();
    let (said, orders) = (console.with_extension("qemu"), console.with_extension("qmp"));
    files::remove_file(&orders)?;
    let log = File::create(&said).map_err(files::at("cannot write", &said))?;
    let mut c = program::command(QEMU);
    c.args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-no-reboot"]);
    c.arg("-m").arg(proof.memory_mib.to_string()).arg("-bios").arg(firmware);
    c.arg("-chardev").arg(format!("file,id=console,path={}", comma(console)?)).args(["-serial", "chardev:console"]);
    for (i, disk) in std::iter::once(proof.disk).chain(proof.artifact).enumerate() {
        let disk = disk.canonicalize().map_err(files::at("cannot read", disk))?;
        c.arg("-drive").arg(format!("file={},format=raw,if=none,id=disk{i},readonly=on", comma(&disk)?));
        c.arg("-device").arg(format!("virtio-blk-pci,drive=disk{i},bootindex={i}"));
    }
    c.arg("-netdev").arg(format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{}", proof.port));
    c.args(["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]);
    c.arg("-qmp").arg(format!("unix:{},server=on,wait=off", comma(&orders)?));
    c.stdout(Stdio::null()).stderr(log);
    Ok(Machine { child: program::spawn(&mut c, QEMU)?, port, said, orders })
}

/// In QEMU's options a comma within a value is written twice.
fn comma(path: &Path) -> Result<String, Fault> {
    let text = path.to_str().ok_or_else(|| Fault::yours("bad-path", format!("{} is no UTF-8", path.display())))?;
    Ok(text.replace(',', ",,"))
}

enum Seen {
    Answer(String),
    PortTaken,
}

fn wait(proof: &Proof, machine: &mut Machine, begun: Instant, console: &Path) -> Result<Seen, Fault> {
    let mut last = String::new();
    while begun.elapsed() < proof.within {
        if let Some(status) = machine.child.try_wait().map_err(files::at("cannot wait for", Path::new(QEMU)))? {
            let said = fs::read_to_string(&machine.said).unwrap_or_default();
            if said.contains("Could not set up host forwarding") {
                return Ok(Seen::PortTaken);
            }
            if !status.success() {
                return Err(program::ended_badly(QEMU, status, &said));
            }
            let text = format!("the machine gave up after {:.0} s:\n{}", begun.elapsed().as_secs_f64(), console_end(console));
            return Err(Fault::yours("does-not-boot", text).hint("the lines above are the end of its console"));
        }
        let left = proof.within.saturating_sub(begun.elapsed());
        match ask(machine.port, proof.path, left.min(Duration::from_secs(5))) {
            Ok(answer) if good(&answer) => return Ok(Seen::Answer(answer)),
            Ok(answer) => last = format!("; its last answer began: {}", answer.lines().next().unwrap_or("(empty)")),
            Err(_) => {}
        }
        std::thread::sleep(EVERY.min(left));
    }
    let text = format!("no good answer from the service within {} s{last}:\n{}", proof.within.as_secs(), console_end(console));
    Err(Fault::yours("no-answer", text)
        .hint("the lines above are the end of its console; give it longer, or look at why the service does not come up"))
}

/// Presses the power button and waits for QEMU's end, which is the machine's.
fn power_off(machine: &mut Machine, within: Duration, console: &Path) -> Result<f64, Fault> {
    let begun = Instant::now();
    let press = || -> std::io::Result<()> {
        let mut stream = UnixStream::connect(&machine.orders)?;
        stream.set_read_timeout(Some(within))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lines.next().transpose()?; // its greeting
        for order in ["qmp_capabilities", "system_powerdown"] {
            stream.write_all(format!("{{\"execute\":\"{order}\"}}\n").as_bytes())?;
            lines.next().transpose()?;
        }
        Ok(())
    };
    press().map_err(files::at("cannot give orders over", &machine.orders))?;
    while begun.elapsed() < within {
        if machine.child.try_wait().map_err(files::at("cannot wait for", Path::new(QEMU)))?.is_some() {
            return Ok(program::seconds_since(begun));
        }
        std::thread::sleep(EVERY);
    }
    let text = format!("the machine is still there {} s after its power button was pressed:\n{}", within.as_secs(), console_end(console));
    Err(Fault::yours("does-not-end", text).hint("the lines above are the end of its console"))
}

fn good(answer: &str) -> bool {
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1));
    status.is_some_and(|code| code.len() == 3 && (code.starts_with('2') || code.starts_with('3')))
}

fn ask(port: u16, path: &str, within: Duration) -> std::io::Result<String> {
    let within = within.max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_console(console: &Path) -> String {
    use std::io::{Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(console)?;
        let start = file.metadata()?.len().saturating_sub(CONSOLE_MAX);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(CONSOLE_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    plain(&String::from_utf8_lossy(&read().unwrap_or_default()))
}

/// What led to the end: after "Kernel panic" come only addresses, and of the rest the last lines.
fn console_end(console: &Path) -> String {
    let text = read_console(console);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let end = lines.iter().position(|l| l.contains("Kernel panic")).map_or(lines.len(), |at| at + 1);
    lines[end.saturating_sub(CONSOLE_LINES)..end].join("\n")
}

/// Without the firmware's colours and cursor jumps (`ESC [ ... letter`), and without carriage returns.
fn plain(text: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            while chars.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            chars.next();
        } else if c == '\n' || c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_status_is_an_answer() {
        assert!(good("HTTP/1.0 200 OK\r\n\r\nhello"));
        assert!(good("HTTP/1.1 302 Found\r\n"));
        for bad in ["", "HTTP/1.1 500 x", "HTTP/1.1 404", "SSH-2.0", "HTTP/1.1 20", "HTTP/1."] {
            assert!(!good(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_console_is_read_without_its_colours() {
        assert_eq!(plain("\u{1b}[2J\u{1b}[01;01HBdsDxe: start\r\nok\u{1b}["), "BdsDxe: start\nok");
    }

    #[test]
    fn a_path_that_would_be_two_lines_is_refused() {
        let proof =
            Proof { disk: Path::new("/x"), artifact: None, port: 1, path: "/a\r\nX: y", within: EVERY, memory_mib: 64, off_within: None };
        assert_eq!(run(&proof).unwrap_err().code, "bad-path");
    }
}
