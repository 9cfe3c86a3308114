//! Who reaches whom, kept by the kernel: two tables of nftables of our own, `inet afresh_MARK` and `bridge afresh_MARK`. No other table is ever
//! read or changed, and each change is one transaction, so that nothing is open or closed in between.

pub mod listing;
pub mod rules;
mod table;

use crate::command;
use listing::{Crowded, Listing, Refusal};
use model::Fault;
use rules::Rules;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use table::Table;

/// Of a table's listing: a thousand groups whose every counter is taken are less.
const LISTING_BYTES_MAX: usize = 64 << 20;
const WITHIN: Duration = Duration::from_secs(20);

pub struct Firewall {
    mark: String,
    /// What the kernel was given last; None: nothing, or it is not known.
    given: Mutex<Option<[Table; 2]>>,
}

/// What was refused, of all servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub refused: Vec<Refusal>,
    pub crowded: Vec<Crowded>,
}

impl Firewall {
    pub fn new(mark: &str) -> Self {
        Self { mark: mark.to_string(), given: Mutex::new(None) }
    }

    /// For tests of what does not touch the network.
    #[cfg(test)]
    pub fn absent() -> Self {
        Self::new("")
    }

    /// Makes these rules hold. They are asked for when it is our turn: whoever waited meanwhile finds nothing left to do.
    ///
    /// Without them no server is launched: a network that may be open is not closed.
    pub fn give(&self, rules: impl FnOnce() -> Rules) -> Result<(), Fault> {
        if cfg!(test) && self.mark.is_empty() {
            return Ok(());
        }
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let new = rules().tables();
        let change = given.as_ref().and_then(|old| {
            let changes: Option<Vec<String>> = new.iter().zip(old).map(|(new, old)| new.changed_from(old)).collect();
            changes.map(|changes| changes.concat())
        });
        match change {
            Some(change) if change.is_empty() => return Ok(()),
            // Somebody may have changed what was there.
            Some(change) if nft(&change).is_ok() => {}
            _ => self.replace(&new)?,
        }
        *given = Some(new);
        Ok(())
    }

    /// Both tables as a whole; what was counted is carried over.
    fn replace(&self, new: &[Table; 2]) -> Result<(), Fault> {
        let mut new = new.clone();
        let there = self.list_inet().unwrap_or_default();
        let refused = there.refused.iter().map(|one| (&one.set, one.element()));
        let crowded = there.crowded.iter().map(|one| (&one.set, one.element()));
        for (set, element) in refused.chain(crowded) {
            if let Some(set) = new[0].sets.get_mut(set) {
                set.elements.insert(element);
            }
        }
        nft(&new.iter().map(Table::whole).collect::<String>()).map_err(|fault| {
            Fault::world("no-firewall", format!("the network between servers cannot be closed: {}", fault.message))
                .hint("apt install nftables; `afresh doctor` says what the kernel lacks")
                .again(false)
        })
    }

    /// What was refused, or what is wrong: then nothing is known of what the kernel has, and the next rules are given as a whole.
    pub fn look(&self) -> Result<Refused, String> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let Some([inet, bridge]) = given.as_ref() else { return Err("it was never made".to_string()) };
        let listings = [(inet, self.list_inet()), (bridge, list(&bridge.name))];
        for (table, listing) in &listings {
            let wrong = match listing {
                Some(listing) => listing.differs_from(table),
                None => Some("all of it".to_string()),
            };
            if let Some(what) = wrong {
                let name = table.name.clone();
                *given = None;
                return Err(format!("table {name}: somebody changed or removed {what}"));
            }
        }
        let [(_, listing), _] = listings;
        let Listing { refused, crowded, .. } = listing.unwrap_or_default();
        Ok(Refused { refused, crowded })
    }

    /// Of servers that are gone: their addresses will be others'.
    pub fn forget(&self, gone: &Refused) {
        let [inet, _] = rules::names_of(&self.mark);
        let refused = gone.refused.iter().map(|one| one.forget(&inet));
        let text: String = refused.chain(gone.crowded.iter().map(|one| one.forget(&inet))).collect();
        if !text.is_empty() {
            // What is not forgotten now is seen again.
            let _ = nft(&text);
        }
    }

    fn list_inet(&self) -> Option<Listing> {
        list(&rules::names_of(&self.mark)[0])
    }
}

fn list(table: &str) -> Option<Listing> {
    let mut nft = Command::new("nft");
    let ran = command::run_keeping(nft.args(["-j", "list", "table"]).args(table.split(' ')), "", WITHIN, LISTING_BYTES_MAX).ok()?;
    if ran.ok { listing::read(&ran.out) } else { None }
}

fn nft(text: &str) -> Result<(), Fault> {
    command::must(Command::new("nft").args(["-f", "-"]), text, WITHIN).map(drop)
}

/// Loads rules as they would be in a network of its own, which vanishes: whether this host can.
pub fn tried(rules: &Rules) -> Result<(), Fault> {
    let text: String = rules.tables().iter().map(Table::whole).collect();
    command::must(Command::new("unshare").args(["--net", "nft", "-f", "-"]), &text, WITHIN).map(drop)
}

pub fn remove(mark: &str) {
    let text: String = rules::names_of(mark).iter().map(|table| format!("table {table}\ndelete table {table}\n")).collect();
    let _ = nft(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::{Server, sample};
    use std::net::Ipv4Addr;
    use std::time::Instant;

    /// On a thread with a network of its own, which vanishes.
    fn in_own_network(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work();
            });
        });
    }

    /// So many servers, four of a group.
    fn many(count: u32) -> Rules {
        let mut rules = sample();
        let network = rules.groups.values().next().unwrap().clone();
        (rules.groups, rules.servers) = Default::default();
        for n in 0..count {
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n);
            let group: model::GroupName = format!("web{}-r1-1", n / 4).parse().unwrap();
            rules.groups.insert(group.clone(), network.clone());
            let address6 = Some(format!("fd00:1::{n:x}").parse().unwrap());
            let server = Server { veth: format!("v{n}"), hardware: crate::net::hardware(address), address6, group: Some(group) };
            rules.servers.insert(address, server);
        }
        rules
    }

    /// The kernel is the oracle: whatever way rules were reached, it lists what it lists when they are given at once.
    #[test]
    #[ignore = "needs root"]
    fn piece_by_piece_is_the_same_as_at_once() {
        let lists = || {
            let text: String = rules::names_of("0123abcd")
                .iter()
                .map(|table| command::must(Command::new("nft").args(["-s", "list", "table"]).args(table.split(' ')), "", WITHIN).unwrap())
                .collect();
            // Elements of a set may be listed in any order.
            let mut words: Vec<String> =
                text.split([',', '\n']).map(|word| word.replace("elements = {", "").replace('}', "").trim().to_string()).collect();
            words.sort();
            words
        };
        in_own_network(|| {
            let firewall = Firewall::new("0123abcd");
            for count in [0, 9, 3, 4, 30, 1, 0, 12] {
                let mut rules = many(count);
                rules.guard.v4 = count % 2 == 0;
                firewall.give(|| rules.clone()).unwrap();
                let by_piece = lists();
                assert!(firewall.look().is_ok(), "what was given is what is there");
                let at_once = Firewall::new("0123abcd");
                at_once.give(|| rules).unwrap();
                assert_eq!(by_piece, lists(), "{count}");
            }
        });
    }

    #[test]
    #[ignore = "a measurement; needs root"]
    fn a_thousand_servers() {
        in_own_network(|| {
            for count in [10, 250, 1_000] {
                let rules = many(count);
                let more = many(count + 1);
                let median = |mut times: Vec<f64>| {
                    times.sort_by(f64::total_cmp);
                    times[times.len() / 2]
                };
                let timed = |work: &mut dyn FnMut()| {
                    let begin = Instant::now();
                    work();
                    begin.elapsed().as_secs_f64() * 1_000.0
                };
                let firewall = Firewall::new("0123abcd");
                let whole = median((0..5).map(|_| timed(&mut || Firewall::new("0123abcd").give(|| rules.clone()).unwrap())).collect());
                firewall.give(|| rules.clone()).unwrap();
                let one: Vec<f64> =
                    (0..10).flat_map(|_| [&more, &rules].map(|to| timed(&mut || firewall.give(|| to.clone()).unwrap()))).collect();
                let look = median((0..5).map(|_| timed(&mut || drop(firewall.look().unwrap()))).collect());
                let one = median(one);
                println!(
                    "{{\"servers\": {count}, \"groups\": {}, \"whole_ms\": {whole:.1}, \"one_more_or_less_ms\": {one:.1}, \"look_ms\": {look:.1}}}",
                    rules.groups.len()
                );
            }
        });
    }
}
