//! The room that all logs of a host take together, of servers that run and that are gone: what goes when it is too much. The oldest first:
//! logs of servers that are gone, then the rotated ones of those that run, then what the quietest of these printed last.

use crate::keeper::Keeper;
use crate::log_file;
use model::Layout;
use std::path::{Path, PathBuf};

/// A log as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: String,
    pub lives: bool,
    /// With its times, of the current and of the rotated file.
    pub bytes: u64,
    pub old_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    Remove(String),
    RemoveOld(String),
    /// Its shim writes it: it cannot be removed under it, but emptied.
    Empty(String),
}

/// `logs`: the least recently written first. Pure.
pub fn cuts(logs: &[Kept], most: u64) -> Vec<Cut> {
    let mut total: u64 = logs.iter().map(|log| log.bytes + log.old_bytes).sum();
    let mut cuts = Vec::new();
    let gone = logs.iter().filter(|log| !log.lives).map(|log| (log.bytes + log.old_bytes, Cut::Remove(log.id.clone())));
    let living = || logs.iter().filter(|log| log.lives);
    let old = living().filter(|log| log.old_bytes > 0).map(|log| (log.old_bytes, Cut::RemoveOld(log.id.clone())));
    let now = living().filter(|log| log.bytes > 0).map(|log| (log.bytes, Cut::Empty(log.id.clone())));
    for (bytes, cut) in gone.chain(old).chain(now) {
        if total <= most {
            break;
        }
        total -= bytes;
        cuts.push(cut);
    }
    cuts
}

/// Removes what is too much.
pub fn bound(keeper: &Keeper) {
    let folder = keeper.layout.host().join("logs");
    let listed = crate::log_list::logs(&keeper.layout);
    let logs: Vec<Kept> = {
        let state = keeper.state();
        let lives = |id: &str| state.instances.keys().any(|instance| instance.as_str() == id) || state.strays.contains_key(id);
        listed.iter().map(|log| kept(&keeper.layout, &log.id, lives(&log.id))).collect()
    };
    for cut in cuts(&logs, keeper.logs.total_bytes) {
        let of = |id: &str| folder.join(format!("{id}.log"));
        let done = match &cut {
            Cut::Remove(id) => log_file::files(&of(id)).iter().try_for_each(|file| removed(file)),
            Cut::RemoveOld(id) => {
                let old = log_file::turned_over(&of(id));
                removed(&log_file::times(&old)).and_then(|()| removed(&old))
            }
            Cut::Empty(id) => std::fs::File::options().write(true).open(of(id)).and_then(|file| file.set_len(0)),
        };
        match done {
            Ok(()) => tracing::info!(?cut, "the logs of this host took more than {} bytes", keeper.logs.total_bytes),
            Err(e) => tracing::warn!(?cut, "cannot be removed: {e}"),
        }
    }
}

fn kept(layout: &Layout, id: &str, lives: bool) -> Kept {
    let log = layout.host().join("logs").join(format!("{id}.log"));
    let old = log_file::turned_over(&log);
    let size = |files: [PathBuf; 2]| files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|meta| meta.len()).sum();
    let (bytes, old_bytes) = (size([log_file::times(&log), log.clone()]), size([log_file::times(&old), old]));
    Kept { id: id.to_string(), lives, bytes, old_bytes }
}

fn removed(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_settings::TOTAL_BYTES_MIN;

    #[test]
    fn the_oldest_of_the_gone_go_first_and_the_whole_stays_within_its_bound() {
        let log = |id: &str, lives, bytes, old_bytes| Kept { id: id.to_string(), lives, bytes, old_bytes };
        let logs = [log("a", true, 5, 10), log("b", false, 5, 10), log("c", true, 5, 0), log("d", false, 5, 0), log("e", true, 5, 10)];
        let names = |most| {
            let name = |cut: &Cut| match cut {
                Cut::Remove(id) => id.clone(),
                Cut::RemoveOld(id) => format!("{id}.1"),
                Cut::Empty(id) => format!("{id}=0"),
            };
            cuts(&logs, most).iter().map(name).collect::<Vec<_>>().join(" ")
        };
        for (most, want) in [
            (55, ""),
            (54, "b"),
            (40, "b"),
            (39, "b d"),
            (34, "b d a.1"),
            (20, "b d a.1 e.1"),
            (10, "b d a.1 e.1 a=0"),
            (0, "b d a.1 e.1 a=0 c=0 e=0"),
        ] {
            assert_eq!(names(most), want, "{most}");
        }
    }

    /// Files of a keeper that has no server: all of them are of servers that are gone.
    #[test]
    fn the_files_go() {
        let t = crate::testing::TestKeeper::new();
        let folder = t.keeper.layout.host().join("logs");
        let large = vec![b'x'; 6 << 20];
        for (n, id) in ["web-r1-1-1", "web-r1-1-2", "web-r1-1-3"].iter().enumerate() {
            let path = folder.join(format!("{id}.log"));
            std::fs::write(log_file::times(&path), "").unwrap();
            std::fs::write(&path, &large).unwrap();
            let at = std::time::SystemTime::now() - std::time::Duration::from_secs(100 - n as u64);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        bound(&t.keeper);
        let left: Vec<String> = crate::log_list::logs(&t.keeper.layout).into_iter().map(|log| log.id).collect();
        assert_eq!(left, ["web-r1-1-2", "web-r1-1-3"], "the bound of this keeper is {TOTAL_BYTES_MIN} bytes");
    }
}
