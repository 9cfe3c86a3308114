//! Which connections are allowed on the data directory's bridge. Servers reach nothing: neither each other (their bridge ports are
//! isolated, and nothing is forwarded), nor what listens on this host. Connections that the host itself opens (balancer, probes) pass.
//!
//! All of it is one nftables table of our own, replaced in one transaction; no other table is ever read or changed.
//! What the file will allow later (names, egress) belongs in [`rules`].

use crate::command;
use model::Fault;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

fn table(mark: &str) -> String {
    format!("afresh_{mark}")
}

/// Pure. The first two lines ensure that the table exists and is empty, whatever was in it.
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

/// Without it no server is launched: a network that may be open does not count as closed.
pub fn ensure(mark: &str, bridge: &str) -> Result<(), Fault> {
    command::must(Command::new("nft").args(["-f", "-"]), &rules(mark, bridge), WITHIN).map(drop).map_err(|fault| {
        Fault::world("no-firewall", format!("cannot isolate the servers' network: {}", fault.message))
            .hint("apt install nftables; the kernel needs CONFIG_NF_TABLES_INET and CONFIG_NFT_CT")
            .again(false)
    })
}

/// The rules of this host may have been flushed.
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
            assert!(line.contains("ifname \"afresh0123abcd\""), "only its own packets: {line}");
        }
        let at = |text: &str| rules.find(text).unwrap_or_else(|| panic!("{text} is not in:\n{rules}"));
        assert!(at("established,related accept") < at("iifname \"afresh0123abcd\" drop"), "replies are accepted before the drop");
        assert!(at("hook forward") < at("oifname \"afresh0123abcd\" drop"));
        assert_eq!((rules.matches("policy accept").count(), rules.matches(" drop").count()), (2, 3));
        assert!(!rules.contains("flush ruleset"));
    }
}
