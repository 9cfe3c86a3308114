//! Which range of ids each service has on this host. Assigned once, recorded on the disk before it is used, and never to another
//! service: a service's files may outlive the service.
//!
//! The ranges are where systemd's documentation says that nothing else assigns ids: 0x7000_0000 up to its foreign range.

use crate::state_files;
use crate::userns::Range;
use disk::Lasting;
use disk::state::{self, Found};
use model::{Fault, Layout, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const BYTES_MAX: u64 = 4 << 20;
const FIRST: u32 = 0x7000_0000;
const LAST: u32 = 0x7ffd_0000;
/// All except the last, which is reserved for trying whether a runtime works.
const SLOTS: u32 = (LAST - FIRST) / Range::SIZE;
pub const TRIAL: Range = Range(LAST);
/// A script of a recipe is not a service: it must not share a user, and with it quotas, with one.
const BAKES: std::ops::Range<u32> = model::BAKE_IDS..model::BAKE_IDS + model::BAKE_RANGES * Range::SIZE;

/// A file of the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    /// How many places were used, counted from the data directory's own first.
    next: u32,
    services: BTreeMap<String, Range>,
}

struct State {
    given: Given,
    /// The file exists and is unusable: only what running instances have is known, and nothing new is assigned.
    damaged: Option<String>,
}

pub struct Uids {
    path: PathBuf,
    start: u32,
    state: Mutex<State>,
}

impl Uids {
    /// `mark`: the data directory's; several on one host start at different places.
    pub fn open(layout: &Layout, mark: &str) -> Self {
        let path = layout.host().join("uids.json");
        let decode = |bytes: &[u8]| {
            let given: Given = serde_json::from_slice(bytes).map_err(|e| format!("does not decode: {e}"))?;
            if sound(&given) { Ok(given) } else { Err("it holds ranges that were never assigned".to_string()) }
        };
        let (given, damaged) = match state::read(&path, BYTES_MAX, decode) {
            Found::Absent => (Given::default(), None),
            Found::Good(good) => (good.value, None),
            Found::Damaged(why) => (Given::default(), Some(why)),
        };
        if let Some(why) = &damaged {
            tracing::error!("{}: {why}; services that do not run get no ids until it is restored", path.display());
        }
        let start = u32::from_str_radix(mark, 16).unwrap_or(0) % SLOTS;
        Self { path, start, state: Mutex::new(State { given, damaged }) }
    }

    /// Records the ids of an existing instance. An entry of the file takes precedence.
    pub fn adopt(&self, service: &ServiceName, range: Range) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = state.given.services.values().any(|other| *other == range);
        if !taken && !state.given.services.contains_key(service.as_str()) {
            state.given.services.insert(service.to_string(), range);
            let slot = range.0.saturating_sub(FIRST) / Range::SIZE;
            state.given.next = state.given.next.max((slot + SLOTS - self.start) % SLOTS + 1);
        }
    }

    /// A service gets the same range each time, also from later keepers. One that an older version assigned where bakes have theirs is
    /// replaced: its running instances keep it until they end, and a bake passes over a range that processes have.
    pub fn of(&self, service: &ServiceName) -> Result<Range, Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(range) = state.given.services.get(service.as_str()).filter(|range| !BAKES.contains(&range.0)) {
            return Ok(*range);
        }
        if let Some(why) = &state.damaged {
            return Err(Fault::world("corrupt-state", format!("{}: {why}; {service} gets no user ids", self.path.display()))
                .hint("restore the file from a backup; if there is none, remove it and restart the keeper: it reads the ids of running instances")
                .again(false));
        }
        let used: BTreeSet<Range> = state.given.services.values().copied().collect();
        let (range, next) = choose(self.start, state.given.next, &used, &taken(&used)).ok_or_else(|| {
            Fault::world("no-uids", format!("every range of user ids of this host is assigned, so {service} gets none"))
                .hint("each service name that was ever deployed here has one; use another data directory")
                .again(false)
        })?;
        let mut given = state.given.clone();
        given.next = next;
        given.services.insert(service.to_string(), range);
        let written = state::write(&self.path, &state_files::encode(&given)?, 0o600, Lasting::Now);
        written.map_err(|e| state_files::at(&self.path, "writing", e))?;
        state.given = given;
        Ok(range)
    }
}

fn sound(given: &Given) -> bool {
    let distinct: BTreeSet<Range> = given.services.values().copied().collect();
    let in_place = |range: &Range| range.0 >= FIRST && range.0 < LAST && (range.0 - FIRST).is_multiple_of(Range::SIZE);
    given.next <= SLOTS && distinct.len() == given.services.len() && distinct.iter().all(in_place)
}

/// The first free one after the last one assigned, and its distance. `taken`: first and last ids of others.
fn choose(start: u32, next: u32, used: &BTreeSet<Range>, taken: &[(u32, u32)]) -> Option<(Range, u32)> {
    (next..SLOTS).map(|i| (Range(FIRST + (start + i) % SLOTS * Range::SIZE), i + 1)).find(|(range, _)| {
        let last = range.0 + (Range::SIZE - 1);
        !BAKES.contains(&range.0) && !used.contains(range) && !taken.iter().any(|(a, z)| *a <= last && range.0 <= *z)
    })
}

/// Ids that this host's files assign to users, and those of processes that are not ours (for example another data directory's).
fn taken(ours: &BTreeSet<Range>) -> Vec<(u32, u32)> {
    let mut taken = Vec::new();
    for path in ["/etc/subuid", "/etc/subgid"] {
        taken.extend(lines(path).iter().filter_map(|line| sub_range(line)));
    }
    for path in ["/etc/passwd", "/etc/group"] {
        taken.extend(lines(path).iter().filter_map(|line| line.split(':').nth(2)?.parse().ok()).map(|id: u32| (id, id)));
    }
    let pids = state_files::names(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let ids = pids.flat_map(|pid| lines(&format!("/proc/{pid}/status"))).filter_map(|line| {
        let id = line.strip_prefix("Uid:")?.split_ascii_whitespace().next()?.parse::<u32>().ok()?;
        (id >= FIRST && !ours.contains(&Range(id - (id - FIRST) % Range::SIZE))).then_some((id, id))
    });
    taken.extend(ids);
    taken
}

fn lines(path: &str) -> Vec<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).lines().map(str::to_string).collect()).unwrap_or_default()
}

/// `name:first:count`
fn sub_range(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    let (first, count) = (fields.next()?.trim().parse::<u32>().ok()?, fields.next()?.trim().parse::<u32>().ok()?);
    (count > 0).then(|| (first, first.saturating_add(count - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.host()).unwrap();
        (dir, layout)
    }

    #[test]
    fn a_service_keeps_its_range_and_nobody_else_gets_it() {
        let (_dir, layout) = layout();
        let uids = Uids::open(&layout, "00000007");
        let (a, b) = (uids.of(&name("a")).unwrap(), uids.of(&name("b")).unwrap());
        assert!(a != b && a == uids.of(&name("a")).unwrap());
        let later = Uids::open(&layout, "00000007");
        assert_eq!((later.of(&name("b")).unwrap(), later.of(&name("a")).unwrap()), (b, a), "also by a later keeper");
        assert!(![a, b].contains(&later.of(&name("c")).unwrap()));
        for range in [a, b] {
            assert!(range.0 >= FIRST && range.0 < TRIAL.0 && range != TRIAL && (range.0 - FIRST).is_multiple_of(Range::SIZE));
        }
    }

    #[test]
    fn a_range_of_somebody_else_is_passed_over() {
        let first = |i: u32| FIRST + i * Range::SIZE;
        let none = BTreeSet::new();
        assert_eq!(choose(3, 0, &none, &[]), Some((Range(first(3)), 1)));
        assert_eq!(choose(3, 0, &none, &[(first(3) + 65_535, first(3) + 65_535)]), Some((Range(first(4)), 2)), "its last id");
        assert_eq!(choose(3, 0, &none, &[(0, first(3))]), Some((Range(first(4)), 2)), "its first id");
        assert_eq!(choose(3, 0, &none, &[(first(4), first(9))]), Some((Range(first(3)), 1)));
        assert_eq!(choose(3, 0, &BTreeSet::from([Range(first(3))]), &[]), Some((Range(first(4)), 2)));
        let (bakes, behind) = ((BAKES.start - FIRST) / Range::SIZE, BAKES.end);
        assert_eq!(behind, LAST, "they end where the services' do");
        let passed = Some((Range(FIRST), model::BAKE_RANGES + 1));
        assert_eq!(choose(bakes, 0, &none, &[]), passed, "the scripts of recipes have these");
        assert_eq!(choose(SLOTS - 1, 1, &none, &[]), Some((Range(FIRST), 2)), "it goes round");
        assert_eq!(choose(0, SLOTS, &none, &[]), None, "a used place is not assigned again");
        assert_eq!(sub_range("user:100000:65536"), Some((100_000, 165_535)));
        assert_eq!((sub_range("user:5:0"), sub_range("user:x"), sub_range("u:4294967295:2")), (None, None, Some((u32::MAX, u32::MAX))));
    }

    #[test]
    fn a_damaged_file_gives_nobody_a_range_and_what_runs_keeps_its_own() {
        let (_dir, layout) = layout();
        let a = Uids::open(&layout, "00000007").of(&name("a")).unwrap();
        let path = layout.host().join("uids.json");
        let spare = state::spare(&path);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"garbage").unwrap();
        assert_eq!(Uids::open(&layout, "00000009").of(&name("a")).unwrap(), a, "the spare copy has it");
        let twice = br#"{"next":2,"services":{"x":1879048192,"y":1879048192}}"#;
        for bad in [&good[..good.len() / 2], b"{}", b"", twice, br#"{"next":1,"services":{"x":0}}"#] {
            std::fs::write(&path, bad).unwrap();
            std::fs::write(&spare, bad).unwrap();
            let uids = Uids::open(&layout, "00000000");
            assert_eq!(uids.of(&name("new")).unwrap_err().code, "corrupt-state", "{}", String::from_utf8_lossy(bad));
            assert_eq!(std::fs::read(&path).unwrap(), bad, "the file is left as it was found");
        }
        let uids = Uids::open(&layout, "00000007");
        uids.adopt(&name("a"), a);
        assert_eq!(uids.of(&name("a")).unwrap(), a, "as its instances have it");
        state::remove(&path).unwrap();
        let uids = Uids::open(&layout, "00000007");
        uids.adopt(&name("a"), a);
        uids.adopt(&name("z"), a);
        let (new, z) = (uids.of(&name("new")).unwrap(), uids.of(&name("z")).unwrap());
        assert!(new != a && z != a && z != new, "one range is never two services'");
    }

    /// Versions before bakes had ranges gave them to services.
    #[test]
    fn a_range_of_bakes_that_a_service_has_is_replaced_for_good() {
        let (_dir, layout) = layout();
        let path = layout.host().join("uids.json");
        let (old, kept) = (BAKES.start + 3 * Range::SIZE, FIRST + 5 * Range::SIZE);
        let mark = format!("{:08x}", (old - FIRST) / Range::SIZE);
        let text = format!("{{\"next\":1,\"services\":{{\"a\":{old},\"b\":{kept}}}}}");
        state::write(&path, text.as_bytes(), 0o600, Lasting::Now).unwrap();
        let uids = Uids::open(&layout, &mark);
        uids.adopt(&name("a"), Range(old));
        let moved = uids.of(&name("a")).unwrap();
        assert!(!BAKES.contains(&moved.0) && moved != Range(kept), "{moved:?}");
        assert_eq!(uids.of(&name("b")).unwrap(), Range(kept), "it shares nothing");
        let later = Uids::open(&layout, &mark);
        assert_eq!((later.of(&name("a")).unwrap(), later.of(&name("b")).unwrap()), (moved, Range(kept)), "also by a later keeper");
    }
}
