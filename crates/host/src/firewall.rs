//! Who reaches whom on the data directory's bridge. Servers reach nobody: neither each other (their ports of the bridge are isolated,
//! and nothing is forwarded), nor what listens on this host. What the host itself begins (balancer, probes) gets in, and is answered.
//!
//! All of it is one nftables table of our own, replaced as a whole in one transaction; no other table is ever read or changed.
//! What the file will open (names, ways out) joins [`rules`].

use crate::command;
use model::Fault;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

fn table(mark: &str) -> String {
    format!("afresh_{mark}")
}

/// Pure. The first two lines make that the table is there and empty before, whatever was in it.
fn rules(mark: &str, bridge: &str) -> String {
    let table = table(mark);
    format!(
        "table inet {table}\n\
         delete table inet {table}\n\
         table inet {table} {{\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter - 10; policy accept;\n\
         \t\tiifname \"{bridge}\" ct state established,related accept\n\
         \t\tiifname \"{bridge}\" drop\n\
         \t}}\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter - 10; policy accept;\n\
         \t\tiifname \"{bridge}\" drop\n\
         \t\toifname \"{bridge}\" drop\n\
         \t}}\n\
         }}\n"
    )
}

/// Without it no server is launched: a network that may be open is not closed.
pub fn ensure(mark: &str, bridge: &str) -> Result<(), Fault> {
    command::must(Command::new("nft").args(["-f", "-"]), &rules(mark, bridge), WITHIN).map(drop).map_err(|fault| {
        Fault::world("no-firewall", format!("the network between servers cannot be closed: {}", fault.message))
            .hint("apt install nftables; the kernel needs CONFIG_NF_TABLES_INET and CONFIG_NFT_CT")
            .again(false)
    })
}

/// Somebody may have flushed the rules of this host.
pub fn is_there(mark: &str) -> bool {
    command::run(Command::new("nft").args(["list", "table", "inet", &table(mark)]), "", WITHIN).is_ok_and(|ran| ran.ok)
}

pub fn remove(mark: &str) {
    let table = table(mark);
    let _ = command::run(Command::new("nft").args(["-f", "-"]), &format!("table inet {table}\ndelete table inet {table}\n"), WITHIN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_closes_both_ways_and_names_only_what_is_ours() {
        let rules = rules("0123abcd", "afresh0123abcd");
        for line in rules.lines().filter(|l| l.contains("table")) {
            assert!(line.contains("table inet afresh_0123abcd"), "{line}");
        }
        for line in rules.lines().filter(|l| l.contains("drop") || l.contains("state")) {
            assert!(line.contains("ifname \"afresh0123abcd\""), "nobody else's packets: {line}");
        }
        let at = |text: &str| rules.find(text).unwrap_or_else(|| panic!("{text} is not in:\n{rules}"));
        assert!(at("established,related accept") < at("iifname \"afresh0123abcd\" drop"), "answers come before the door is shut");
        assert!(at("hook forward") < at("oifname \"afresh0123abcd\" drop"));
        assert_eq!((rules.matches("policy accept").count(), rules.matches(" drop").count()), (2, 3));
        assert!(!rules.contains("flush ruleset"));
    }
}
