//! The addresses of the names in `egress`. Each is looked up again when its time (TTL) is over; an address stays for an hour after it was
//! seen last, so that servers which have it from their own look-up go on. While nobody answers, what was known stays.
//!
//! What the resolver on the gateway is about to answer a server is taken in by [`Names::saw`], before the server hears it.

use crate::state_files;
use api::fleet::Alarm;
use model::{Layout, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an address is kept that no answer has any more.
const KEPT_MS: u64 = 3_600_000;
/// No name has more; the ones seen last are kept.
const ADDRESSES_MAX: usize = 128;
const TTL_MIN: Duration = Duration::from_secs(5);
const TTL_MAX: Duration = Duration::from_secs(3_600);
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// A name that could not be looked up for this time raises an alarm.
const FAILING_MS: u128 = 10_000;
const FILE: &str = "names.json";

type Addresses = BTreeMap<IpAddr, Time>;

pub struct Names {
    known: Mutex<BTreeMap<String, Known>>,
    path: PathBuf,
}

#[derive(Default)]
struct Known {
    /// When each was seen last.
    addresses: Addresses,
    /// None: never asked since we began.
    due: Option<Instant>,
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    why: String,
}

impl Known {
    fn saw(&mut self, seen: &BTreeSet<IpAddr>, at: Time) {
        self.addresses.retain(|_, last| at.since(*last) < KEPT_MS);
        self.addresses.extend(seen.iter().map(|address| (*address, at)));
        while self.addresses.len() > ADDRESSES_MAX {
            let oldest = self.addresses.iter().min_by_key(|(_, last)| **last).map(|(address, _)| *address);
            oldest.map(|address| self.addresses.remove(&address));
        }
    }
}

/// What a look-up gave: addresses and how long they hold, or why there are none.
pub type Answer = Result<(BTreeSet<IpAddr>, Duration), String>;

impl Names {
    /// With what the last keeper knew: resolvers may be away when this host begins.
    pub fn open(layout: &Layout) -> Self {
        let path = layout.host().join(FILE);
        let kept = state_files::read_json::<BTreeMap<String, Addresses>>(&path).good().unwrap_or_default();
        let known = kept.into_iter().map(|(name, addresses)| (name, Known { addresses, ..Known::default() })).collect();
        Self { known: Mutex::new(known), path }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn addresses(&self, name: &str) -> BTreeSet<IpAddr> {
        self.known().get(name).map(|known| known.addresses.keys().copied().collect()).unwrap_or_default()
    }

    /// Of these, those that are to be asked for now. What nobody names any more is forgotten.
    pub fn due(&self, wanted: &BTreeSet<String>, now: Instant) -> Vec<String> {
        let mut known = self.known();
        known.retain(|name, _| wanted.contains(name));
        wanted.iter().filter(|name| known.get(*name).and_then(|known| known.due).is_none_or(|due| due <= now)).cloned().collect()
    }

    /// True: there are other addresses now.
    pub fn learn(&self, name: &str, answer: Answer, now: Instant, at: Time) -> bool {
        let mut all = self.known();
        let known = all.entry(name.to_string()).or_default();
        let before: Vec<IpAddr> = known.addresses.keys().copied().collect();
        match answer {
            Ok((seen, ttl)) => {
                known.due = Some(now + ttl.clamp(TTL_MIN, TTL_MAX));
                known.failing = None;
                known.saw(&seen, at);
            }
            Err(why) => {
                known.due = Some(now + AGAIN_AFTER_FAILURE);
                let since = known.failing.as_ref().map_or(now, |failing| failing.since);
                known.failing = Some(Failing { since, why });
            }
        }
        let changed = !known.addresses.keys().eq(before.iter());
        if changed {
            self.write(&all);
        }
        changed
    }

    /// What a server is about to hear. True: there are other addresses now. A name that no file names is none of ours.
    pub fn saw(&self, name: &str, seen: &BTreeSet<IpAddr>, at: Time) -> bool {
        let mut all = self.known();
        let Some(known) = all.get_mut(name) else { return false };
        let is_new = seen.iter().any(|address| !known.addresses.contains_key(address));
        known.saw(seen, at);
        if is_new {
            self.write(&all);
        }
        is_new
    }

    fn write(&self, all: &BTreeMap<String, Known>) {
        let kept: BTreeMap<&String, &Addresses> = all.iter().map(|(name, known)| (name, &known.addresses)).collect();
        if let Err(fault) = state_files::write_json_quick(&self.path, &kept) {
            tracing::warn!("{fault}");
        }
    }

    pub fn alarms(&self, now: Instant) -> Vec<Alarm> {
        let known = self.known();
        let failing = known.iter().filter_map(|(name, known)| Some((name, known, known.failing.as_ref()?)));
        failing
            .filter(|(_, _, failing)| now.duration_since(failing.since).as_millis() >= FAILING_MS)
            .map(|(name, known, failing)| {
                let open = match known.addresses.len() {
                    0 => "no server can connect to it".to_string(),
                    _ => "the addresses that it had stay open".to_string(),
                };
                let since = now.duration_since(failing.since).as_secs();
                let text =
                    format!("{name} cannot be looked up for {since} s ({}); {open}. See the resolvers in /etc/resolv.conf", failing.why);
                Alarm::new("name-unknown", None, text)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_stay_for_an_hour_and_while_nobody_answers() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.host()).unwrap();
        let names = Names::open(&layout);
        let wanted: BTreeSet<String> = ["db.example.org".to_string()].into();
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        assert_eq!(names.due(&wanted, now), ["db.example.org"]);
        let answer = |list: &[&str], ttl_s| Ok((ips(list), Duration::from_secs(ttl_s)));
        assert!(names.learn("db.example.org", answer(&["10.0.0.1"], 60), now, Time(1_000)));
        assert!(names.due(&wanted, now + Duration::from_secs(59)).is_empty());
        assert_eq!(names.due(&wanted, now + Duration::from_secs(60)).len(), 1);
        assert!(!names.learn("db.example.org", answer(&["10.0.0.1"], 60), now, Time(2_000)));
        assert!(names.learn("db.example.org", answer(&["10.0.0.2", "fd00::2"], 60), now, Time(3_000)));
        assert_eq!(names.addresses("db.example.org"), ips(&["10.0.0.1", "10.0.0.2", "fd00::2"]));
        // Long after, nobody answers.
        let later = now + 5 * hour;
        assert!(!names.learn("db.example.org", Err("timeout".to_string()), later, Time(18_000_000)));
        assert_eq!(names.addresses("db.example.org").len(), 3);
        assert!(names.alarms(later).is_empty(), "not at once");
        let alarms = names.alarms(later + Duration::from_secs(10));
        assert!(
            alarms[0].text.starts_with("db.example.org cannot be looked up for 10 s (timeout); the addresses that it had stay open"),
            "{alarms:?}"
        );
        assert!(
            !names.saw("db.example.org", &ips(&["10.0.0.2"]), Time(3_000)) && !names.saw("x.example.org", &ips(&["10.0.0.9"]), Time(3_000))
        );
        assert!(names.saw("db.example.org", &ips(&["10.0.0.2", "10.0.0.3"]), Time(4_000)));
        assert!(names.addresses("db.example.org").contains(&"10.0.0.3".parse().unwrap()) && names.addresses("x.example.org").is_empty());
        // The next keeper knows them too.
        assert_eq!(Names::open(&layout).addresses("db.example.org").len(), 4);
        assert!(names.learn("db.example.org", answer(&["10.0.0.2"], 0), later, Time(18_000_000)));
        assert_eq!(names.addresses("db.example.org"), ips(&["10.0.0.2"]));
        assert!(names.alarms(later + hour).is_empty());
        assert!(
            names.due(&wanted, later + Duration::from_secs(4)).is_empty(),
            "an answer that holds for no time is not asked for without end"
        );
        assert!(names.due(&BTreeSet::new(), later).is_empty() && names.addresses("db.example.org").is_empty());
    }

    #[test]
    fn a_name_with_many_addresses_keeps_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::open(&Layout::new(dir.path()));
        for n in 0..ADDRESSES_MAX + 9 {
            let address = IpAddr::from([10, 0, u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap()]);
            names.learn("a.example.org", Ok(([address].into(), TTL_MIN)), Instant::now(), Time(n as u64));
        }
        let left = names.addresses("a.example.org");
        assert!(left.len() == ADDRESSES_MAX && !left.contains(&IpAddr::from([10, 0, 0, 8])) && left.contains(&IpAddr::from([10, 0, 0, 9])));
    }
}
