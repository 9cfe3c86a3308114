//! The keeper's side of the resolver on the gateway: which server asks, what the firewall must open before it hears an answer, alarms.

use crate::dns::{self, Answer, Asker, Own, Sockets};
use crate::keeper::Keeper;
use crate::state::State;
use crate::{connectivity, inside};
use api::fleet::Alarm;
use model::{Names, ServiceName};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const AGAIN_AFTER: Duration = Duration::from_secs(5);

fn own(keeper: &Keeper) -> Own {
    Own { subnet: keeper.network.subnet, prefix: keeper.network.prefix }
}

/// Before the rules are given, which let servers ask only where we listen.
pub fn bind(keeper: &Keeper) -> Option<Sockets> {
    match dns::bind(own(keeper)) {
        Ok(sockets) => {
            keeper.set_answering(Ok(()));
            Some(sockets)
        }
        Err(e) => {
            let why = format!("cannot listen on {} port {}: {e}", keeper.network.subnet.gateway(), dns::PORT);
            if keeper.set_answering(Err(why.clone())) {
                tracing::warn!("servers cannot look up names: {why}");
            }
            None
        }
    }
}

/// As long as the keeper runs.
pub async fn keep(keeper: Arc<Keeper>, mut sockets: Option<Sockets>) {
    loop {
        if let Some(sockets) = sockets.take()
            && let Err(e) = dns::serve(sockets, keeper.resolver.clone(), Asked(keeper.clone())).await
        {
            keeper.set_answering(Err(e.to_string()));
        }
        tokio::time::sleep(AGAIN_AFTER).await;
        let again = keeper.clone();
        sockets = tokio::task::spawn_blocking(move || bind(&again)).await.ok().flatten();
        if sockets.is_some() {
            open(&keeper).await;
        }
    }
}

async fn open(keeper: &Arc<Keeper>) {
    let keeper = keeper.clone();
    if let Ok(Err(fault)) = tokio::task::spawn_blocking(move || connectivity::open(&keeper)).await {
        tracing::error!("{fault}");
    }
}

struct Asked(Arc<Keeper>);

impl dns::Servers for Asked {
    fn asker(&self, from: IpAddr) -> Option<Asker> {
        asker(&self.0.state(), &self.0.service_names.now(), from.to_canonical())
    }

    fn is_offered(&self, service: &ServiceName) -> bool {
        inside::is_offered(&self.0.state(), service)
    }

    fn own(&self) -> Own {
        own(&self.0)
    }

    fn upstreams(&self) -> Vec<SocketAddr> {
        self.0.upstreams()
    }

    async fn heard(&self, name: &str, answer: &Answer) {
        let found = dns::addresses_in(answer).collect();
        if self.0.names.saw(name, &found, disk::files::now()) {
            open(&self.0).await;
        }
    }
}

/// Servers that may still run, by their addresses: the bridge lets no other use them.
fn asker(state: &State, names: &Names, from: IpAddr) -> Option<Asker> {
    let running = state.instances.values().filter(|one| one.ended.is_none());
    let placed = running.map(|one| (&one.record.placement, &one.record.release));
    let (placement, release) = placed.into_iter().find(|(placement, _)| {
        from == IpAddr::from(placement.address) || placement.six.is_some_and(|six| from == IpAddr::from(six.address))
    })?;
    let network = release.network.clone();
    // A program goes on with the name that it began with: a service answers to all that it has or had.
    let named = |service| names.others_of(service).chain([service]).map(move |name| (name.clone(), service.clone()));
    let services = network.services().flat_map(named).collect();
    Some(Asker { server: placement.address, network, services })
}

pub fn alarms(keeper: &Keeper) -> Vec<Alarm> {
    if keeper.state().instances.is_empty() {
        return Vec::new();
    }
    let mut alarms = Vec::new();
    if let Some(why) = keeper.not_answering() {
        let text = format!(
            "servers cannot look up names: {why}. Another name server on this host must leave that address: `ss -lnp 'sport = :53'` names it"
        );
        alarms.push(Alarm::new("no-resolver", None, text));
    }
    if let Some((since, why)) = keeper.resolver.away(Instant::now()) {
        let text = format!(
            "servers cannot look up names for {since} s: {why}; what was known is answered for an hour. See the resolvers in /etc/resolv.conf"
        );
        alarms.push(Alarm::new("resolver-away", None, text));
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Six;
    use crate::testing::instances;

    #[test]
    fn only_servers_that_may_run_are_answered() {
        let mut state = instances(&[1, 2]);
        let ids: Vec<_> = state.instances.keys().cloned().collect();
        let six = Six { address: "fd00:1::2".parse().unwrap(), gateway: "fd00:1::1".parse().unwrap() };
        state.instances.get_mut(&ids[0]).unwrap().record.placement.six = Some(six);
        state.instances.get_mut(&ids[1]).unwrap().ended = Some(crate::record::Ended::new(0, None));
        let of = |text: &str| asker(&state, &Names::default(), text.parse().unwrap()).map(|asker| asker.server.to_string());
        assert_eq!(of("198.18.7.2").as_deref(), Some("198.18.7.2"));
        assert_eq!(of("fd00:1::2").as_deref(), Some("198.18.7.2"), "one server, whichever family");
        for nobody in ["198.18.7.3", "198.18.7.1", "127.0.0.1", "fd00:1::1", "fd00:1::3"] {
            assert_eq!(of(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn a_renamed_service_answers_to_every_name_that_it_had_and_to_no_other() {
        let mut state = instances(&[1, 2]);
        let service = |text: &str| model::ServiceName::new(text).unwrap();
        let mut all = state.instances.values_mut();
        let (asks, offers) = (all.next().unwrap(), all.next().unwrap());
        asks.record.release.network.allow = vec![model::Allowed::Service(service("worker"))];
        let from = IpAddr::from(asks.record.placement.address);
        offers.record.release.service = service("worker");
        let mut route = model::Route::on(([127, 0, 0, 1], 80).into());
        route.listen = model::RouteAddress::Internal(7_000);
        offers.record.release.route = Some(route);
        let mut names = Names::default();
        let known = |names: &Names| {
            let services = asker(&state, names, from).unwrap().services.into_iter();
            services.filter(|(_, id)| inside::is_offered(&state, id)).map(|(name, _)| String::from(name)).collect::<Vec<_>>()
        };
        assert_eq!(known(&names), ["worker"]);
        names.rename(&service("worker"), &service("queue"));
        names.rename(&service("other"), &service("else"));
        assert_eq!(known(&names), ["queue", "worker"]);
        names.rename(&service("worker"), &service("jobs"));
        assert_eq!(known(&names), ["jobs", "queue", "worker"], "programs go on with the name that they began with");
    }
}
