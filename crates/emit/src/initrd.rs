//! The first root of a machine: busybox, dmsetup, a dozen kernel modules in the order they are loaded, and the scripts of `guest/`.
//! It must not hold anything of this machine's, and it knows the disk only by its root hashes.
//! An own one because the known makers of initrds run on the installed system, take seconds to minutes, and differ from run to run.

use crate::cpio::Cpio;
use crate::kit::Kit;
use crate::verity::Verity;
use model::{Fault, Release};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Without these nothing comes up.
const NEEDED: [&str; 3] = ["erofs", "overlay", "dm_verity"];
/// Disks, network cards and buttons of QEMU, AWS (Xen, Nitro), Google and Azure; taken where the kernel has them as modules.
const HARDWARE: [&str; 19] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "virtio_rng",
    "nvme",
    "sd_mod",
    "ahci",
    "ena",
    "gve",
    "xen_blkfront",
    "xen_netfront",
    "hv_vmbus",
    "hv_storvsc",
    "hv_netvsc",
    "af_packet",
    "sha256_ssse3",
    "evdev",
    "button",
];
const SCRIPTS: [(&str, &str); 6] = [
    ("run.sh", include_str!("guest/run.sh")),
    ("network.sh", include_str!("guest/network.sh")),
    ("dhcp.sh", include_str!("guest/dhcp.sh")),
    ("power.sh", include_str!("guest/power.sh")),
    ("afresh-network.unit", include_str!("guest/afresh-network.unit")),
    ("afresh-power.unit", include_str!("guest/afresh-power.unit")),
];
const SERVICE_UNIT: &str = include_str!("guest/afresh-service.unit");

pub struct Volumes<'a> {
    pub root: &'a Verity,
    pub app: Option<&'a Verity>,
}

pub fn build(kit: &Kit, volumes: &Volumes, release: Option<&Release>) -> Result<Vec<u8>, Fault> {
    let mut c = Cpio::default();
    for dir in ["afresh", "bin", "dev", "lib", "lib64", "lower", "modules", "proc", "root", "run", "rw", "sbin", "sys"] {
        c.dir(dir);
    }
    c.device("dev/console", 0o600, 5, 1);
    c.file("init", 0o755, include_bytes!("guest/init.sh"));
    c.file("bin/busybox", 0o755, &kit.busybox()?);
    for (path, bytes) in kit.program("sbin/dmsetup", "dmsetup")? {
        c.file(&path, 0o755, &bytes);
    }
    let mut order = String::new();
    for module in modules(kit)? {
        c.file(&format!("modules/{}.ko", module.name), 0o644, &module.bytes);
        // A line: the module, then what must be there before it.
        let needs: Vec<&str> = module.depends.iter().filter(|d| !kit.is_builtin(d)).map(String::as_str).collect();
        let _ = writeln!(order, "{} {}", module.name, needs.join(" "));
    }
    c.file("modules/order", 0o644, order.as_bytes());
    for (name, text) in SCRIPTS {
        c.file(&format!("afresh/{name}"), if name.ends_with(".sh") { 0o755 } else { 0o644 }, text.as_bytes());
    }
    c.file("afresh/volumes", 0o644, tables(volumes).as_bytes());
    if let Some(release) = release {
        c.file("afresh/service", 0o755, service(release)?.as_bytes());
        let signal = release.drain.signal.trim_start_matches("SIG");
        if signal.is_empty() || !signal.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-".contains(&b)) {
            return Err(Fault::yours("bad-signal", format!("{:?} is no signal", release.drain.signal)).hint("write TERM, INT, QUIT, ..."));
        }
        let within = release.drain.within_ms.div_ceil(1000).to_string();
        c.file("afresh/stop", 0o644, format!("signal={signal} within={within}\n").as_bytes());
        let unit = SERVICE_UNIT.replace("@SIGNAL@", signal).replace("@WITHIN@", &within);
        c.file("afresh/afresh-service.unit", 0o644, unit.as_bytes());
    }
    Ok(c.finish())
}

/// What follows from the root hash. The script puts the devices in, and the root hash of the command line must be in it.
fn tables(volumes: &Volumes) -> String {
    let mut text = String::new();
    for (name, verity) in [("root", Some(volumes.root)), ("app", volumes.app)] {
        if let Some(v) = verity {
            let _ = writeln!(text, "{name}_table='{}'", v.table("DATA", "HASHES"));
        }
    }
    text
}

struct Taken {
    name: String,
    bytes: Vec<u8>,
    depends: Vec<String>,
}

/// Every module after those it depends on.
fn modules(kit: &Kit) -> Result<Vec<Taken>, Fault> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for name in NEEDED.iter().chain(&HARDWARE) {
        add(kit, name, &mut seen, &mut found)?;
    }
    for name in NEEDED {
        if !kit.is_builtin(name) && !found.iter().any(|m| m.name == name) {
            return Err(Fault::yours("kernel-lacks-module", format!("the kernel {} has no {name}", kit.version))
                .hint("take Debian's linux-image-cloud-amd64 or linux-image-amd64"));
        }
    }
    Ok(found)
}

/// `seen` also ends circles, which a broken module could claim.
fn add(kit: &Kit, name: &str, seen: &mut BTreeSet<String>, found: &mut Vec<Taken>) -> Result<(), Fault> {
    if kit.is_builtin(name) || !seen.insert(name.to_string()) {
        return Ok(());
    }
    let Some((bytes, info)) = kit.module(name)? else { return Ok(()) };
    for before in info.soft.iter().chain(&info.depends) {
        add(kit, before, seen, found)?;
    }
    found.push(Taken { name: name.to_string(), bytes, depends: info.depends });
    Ok(())
}

/// A script that becomes the service: the environment, user and directory it has in an instance on a host.
fn service(release: &Release) -> Result<String, Fault> {
    let (uid, gid) = release.user.split_once(':').unwrap_or((&release.user, &release.user));
    if uid.parse::<u32>().is_err() || gid.parse::<u32>().is_err() {
        return Err(Fault::yours("bad-user", format!("the user {:?} is not uid or uid:gid in numbers", release.user)));
    }
    if release.run.is_empty() {
        return Err(Fault::yours("nothing-to-run", format!("{} has an empty run", release.label())).hint("write run = [\"program\", ...]"));
    }
    let mut env = vec![
        ("PATH".to_string(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()),
        ("HOME".to_string(), "/tmp".to_string()),
        ("LANG".to_string(), "C.UTF-8".to_string()),
    ];
    env.extend(release.env.iter().map(|(k, v)| (k.clone(), v.clone())));
    env.extend(release.port.map(|p| ("PORT".to_string(), p.to_string())));
    env.push(("AFRESH_SERVICE".to_string(), release.service.to_string()));
    env.push(("AFRESH_RELEASE".to_string(), release.number.to_string()));
    let mut text = String::from("#!/run/afresh/busybox sh\ncd /app || cd /\nexec /run/afresh/busybox env -i");
    for (name, value) in env {
        let _ = write!(text, " \\\n    {}", quote(&format!("{name}={value}"))?);
    }
    // By its path: by name, busybox would take its own, which cannot change users.
    let _ = write!(text, " \\\n    /usr/bin/setpriv --reuid={uid} --regid={gid} --clear-groups --no-new-privs --inh-caps=-all --");
    for word in &release.run {
        let _ = write!(text, " \\\n    {}", quote(word)?);
    }
    text.push('\n');
    Ok(text)
}

fn quote(word: &str) -> Result<String, Fault> {
    if word.contains('\0') {
        return Err(Fault::yours("nul-in-text", format!("{word:?} holds a NUL byte, which no command can take")));
    }
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in ["plain", "", "it's", "$HOME `id` \"x\"", "a\nb", "\\", "''"] {
            let script = format!("printf %s {}", quote(word).unwrap());
            let said = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), word);
        }
        assert_eq!(quote("a\0b").unwrap_err().code, "nul-in-text");
    }

    #[test]
    fn the_scripts_are_sound() {
        for (name, text) in SCRIPTS.iter().chain(&[("init.sh", include_str!("guest/init.sh"))]) {
            if name.ends_with(".sh") {
                assert!(Command::new("sh").args(["-n", "-c", text]).status().unwrap().success(), "{name}");
            }
        }
    }
}
