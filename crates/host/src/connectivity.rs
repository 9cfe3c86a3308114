//! From what is declared and what runs to what each server may reach: the rules of the firewall, the switches of the kernel, the addresses
//! of names. A server's rules are there before its program starts, and everything is looked at again every few seconds.

use crate::firewall::Refused as Seen;
use crate::firewall::rules::{Rules, Server, leads_out};
use crate::keeper::Keeper;
use crate::state::{Instance, State};
use crate::{forwarding, inside, net, resolvers};
use api::fleet::Alarm;
use model::destination::Transport;
use model::{DesiredGroup, Fault, GroupName, InstanceId, Network, Refused, Release};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// The share of the kernel's table of connections that one server may fill, and its bounds.
const CONNTRACK_SHARE: u32 = 64;
const CONNECTIONS_MIN: u32 = 512;
const CONNECTIONS_MAX: u32 = 8_192;
const NAMES_EVERY: Duration = Duration::from_secs(1);
/// How long a launch waits for the first answer to a name.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Makes the rules hold that are due now. To be called before a server's program starts, and without the state in hand.
pub fn open(keeper: &Keeper) -> Result<(), Fault> {
    let mut needs_forwarding = false;
    keeper.firewall.give(|| {
        let rules = rules(keeper);
        needs_forwarding = rules.groups.values().any(leads_out);
        rules
    })?;
    if needs_forwarding { forwarding::turn_on(keeper.network.prefix.is_some()) } else { Ok(()) }
}

fn rules(keeper: &Keeper) -> Rules {
    let (groups, servers, inside) = {
        let state = keeper.state();
        let (groups, servers) = servers(&state, &keeper.mark);
        (groups, servers, inside::offered(&state))
    };
    let names: BTreeSet<&str> = groups.values().flat_map(Network::names).collect();
    Rules {
        mark: keeper.mark.clone(),
        bridge: keeper.network.bridge.clone(),
        subnet: keeper.network.subnet,
        prefix: keeper.network.prefix,
        guard: forwarding::guard(),
        answers_names: keeper.not_answering().is_none(),
        names: names.into_iter().map(|name| (name.to_string(), keeper.names.addresses(name))).collect(),
        groups,
        inside,
        servers,
        connections_max: connections_max(),
    }
}

/// Whoever may still run. Of one that cannot be followed the address is known if the balancer knows it.
fn servers(state: &State, mark: &str) -> (BTreeMap<GroupName, Network>, BTreeMap<Ipv4Addr, Server>) {
    let (mut groups, mut servers) = (BTreeMap::new(), BTreeMap::new());
    for (name, stray) in &state.strays {
        let address = stray.target.as_ref().map(|target| target.addr.ip());
        let (Some(IpAddr::V4(address)), Ok(id)) = (address, name.parse::<InstanceId>()) else { continue };
        let network = stray.group.as_ref().and_then(|group| Some((group.clone(), declared(state, group)?.network.clone())));
        let group = network.as_ref().map(|(group, _)| group.clone());
        groups.extend(network);
        servers.insert(address, Server { veth: net::veth_name(mark, &id), hardware: net::hardware(address), address6: None, group });
    }
    for one in state.instances.values().filter(|one| one.ended.is_none()) {
        let (record, placement) = (&one.record, &one.record.placement);
        groups.insert(record.group.clone(), record.release.network.clone());
        let server = Server {
            veth: placement.veth.clone(),
            hardware: net::hardware(placement.address),
            address6: placement.six.map(|six| six.address),
            group: Some(record.group.clone()),
        };
        servers.insert(placement.address, server);
    }
    (groups, servers)
}

fn declared<'a>(state: &'a State, group: &GroupName) -> Option<&'a Release> {
    match &state.groups.get(group)?.declared()?.spec.desired {
        DesiredGroup::Run { release, .. } => Some(release),
        DesiredGroup::Gone => None,
    }
}

fn connections_max() -> u32 {
    let all = std::fs::read_to_string(CONNTRACK_MAX).ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(CONNECTIONS_MIN);
    (all / CONNTRACK_SHARE).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// Every few seconds: what somebody removed is made again, what was refused is taken in, other resolvers are noticed.
pub fn look(keeper: &Keeper) {
    if !net::is_whole(&keeper.network) {
        tracing::warn!("the bridge {} has lost its addresses, or is down; it is made again", keeper.network.bridge);
        if let Err(fault) = net::repair(&keeper.layout, &keeper.network) {
            tracing::error!("{fault}");
        }
    }
    inside::tell(keeper);
    match keeper.firewall.look() {
        Ok(seen) => take_in(keeper, seen),
        Err(why) => tracing::warn!("{why}; the rules are made again"),
    }
    keeper.set_resolvers(resolvers::of_host());
    if let Err(fault) = open(keeper) {
        tracing::error!("{fault}");
    }
}

/// Shown with each server; what is counted of one that is gone is forgotten, as its address will be another's.
fn take_in(keeper: &Keeper, seen: Seen) {
    let mut gone = Seen::default();
    let mut of: BTreeMap<IpAddr, Vec<Refused>> = BTreeMap::new();
    let mut state = keeper.state();
    let there: BTreeSet<IpAddr> = state.instances.values().flat_map(addresses).collect();
    for one in seen.refused {
        if !there.contains(&one.from) {
            gone.refused.push(one);
            continue;
        }
        let transport = if one.transport == "udp" { Transport::Udp } else { Transport::Tcp };
        of.entry(one.from).or_default().push(Refused { to: Some(SocketAddr::new(one.to, one.port)), transport, count: one.count });
    }
    for one in seen.crowded {
        if there.contains(&one.from) {
            of.entry(one.from).or_default().push(Refused { to: None, transport: Transport::Tcp, count: one.count });
        } else {
            gone.crowded.push(one);
        }
    }
    for instance in state.instances.values_mut() {
        let mut refused: Vec<Refused> = addresses(instance).into_iter().filter_map(|address| of.remove(&address)).flatten().collect();
        refused.sort_by_key(|one| (std::cmp::Reverse(one.count), one.to));
        refused.truncate(Refused::MAX);
        instance.refused = refused;
    }
    drop(state);
    keeper.firewall.forget(&gone);
}

fn addresses(one: &Instance) -> Vec<IpAddr> {
    let placement = &one.record.placement;
    std::iter::once(placement.address.into()).chain(placement.six.map(|six| six.address.into())).collect()
}

/// Looks up what is due, as long as the keeper runs.
pub async fn keep_names(keeper: Arc<Keeper>) {
    while !keeper.is_stopped() {
        let wanted: BTreeSet<String> = {
            let (groups, _) = servers(&keeper.state(), &keeper.mark);
            groups.values().flat_map(Network::names).map(str::to_string).collect()
        };
        let due = keeper.names.due(&wanted, Instant::now());
        if learn(&keeper, due).await {
            let keeper = keeper.clone();
            let opened = tokio::task::spawn_blocking(move || open(&keeper)).await;
            if let Ok(Err(fault)) = opened {
                tracing::error!("{fault}");
            }
        }
        tokio::time::sleep(NAMES_EVERY).await;
    }
}

/// True: there are other addresses now.
async fn learn(keeper: &Arc<Keeper>, due: Vec<String>) -> bool {
    let asked: Vec<_> = due
        .into_iter()
        .map(|name| {
            let (resolver, upstreams) = (keeper.resolver.clone(), keeper.upstreams());
            keeper.tasks.spawn(async move { (resolver.addresses(&upstreams, &name).await, name) })
        })
        .collect();
    let mut changed = false;
    for asked in asked {
        if let Ok((answer, name)) = asked.await {
            changed |= keeper.names.learn(&name, answer, Instant::now(), disk::files::now());
        }
    }
    changed
}

/// A release's names are known before its first server begins, if somebody answers in time. Not to be called in an asynchronous task.
pub fn know_names(keeper: &Arc<Keeper>, release: &Release) {
    let unknown: Vec<String> = release.network.names().filter(|name| keeper.names.addresses(name).is_empty()).map(str::to_string).collect();
    if !unknown.is_empty() {
        let _ = keeper.tasks.block_on(async { tokio::time::timeout(FIRST_ANSWER_WITHIN, learn(keeper, unknown)).await });
    }
}

/// Names that nobody answers for.
pub fn alarms(keeper: &Keeper) -> Vec<Alarm> {
    keeper.names.alarms(Instant::now())
}
