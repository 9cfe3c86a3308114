//! The blocks of a service that say how it is watched, ended, limited, reached, checked and migrated.

use super::context::Context;
use super::labels::label_name;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::value::Value;
use crate::units::{self, ValidationError};
use model::{Check, Drain, Health, Limits, Migrate, Probe, Route, RouteAddress, ServiceName};
use std::net::SocketAddr;
use std::ops::Range;

pub(crate) fn health(context: &Context, service: &Section, has_port: bool, sink: &mut Sink) -> Option<Health> {
    let default = Health::default();
    let Some(block) = service.block("health") else { return Some(default) };
    let section = Section::of(context, &schema::HEALTH, block, sink);
    let probe = probe(&section, has_port, sink);
    let every_ms = section.or("every", default.every_ms, sink, |v| read::duration(v, "10ms", "1h"));
    let timeout_ms = section.or("timeout", default.timeout_ms, sink, |v| read::duration(v, "10ms", "10m"));
    let healthy_for_ms = section.or("healthy_for", default.healthy_for_ms, sink, |v| read::duration(v, "0s", "1h"));
    let unhealthy_after = section
        .or("unhealthy_after", u64::from(default.unhealthy_after), sink, |v| read::number(v, 1, 100))
        .and_then(|n| u32::try_from(n).ok());
    Some(Health {
        probe: probe?,
        every_ms: every_ms?,
        timeout_ms: timeout_ms?,
        healthy_for_ms: healthy_for_ms?,
        unhealthy_after: unhealthy_after?,
    })
}

/// At most one of path, exec and tcp.
fn probe(section: &Section, has_port: bool, sink: &mut Sink) -> Option<Probe> {
    let path = section.or("path", None, sink, |v| Ok(Some(Probe::Http { path: health_path(v)? })));
    let exec = section.or("exec", None, sink, |v| Ok(Some(Probe::Exec { command: read::command(v)? })));
    let tcp = section.or("tcp", None, sink, |v| Ok(read::truth(v)?.then_some(Probe::Tcp)));
    let mut given = ["path", "exec", "tcp"].into_iter().filter_map(|name| section.key_span(name).map(|span| (name, span)));
    if let (Some((first, first_span)), Some((second, span))) = (given.next(), given.next()) {
        sink.push(
            Draft::new("health-twice", span, format!("`{second}` beside `{first}`: health is checked in one way only"))
                .label("expected one of path, exec, tcp")
                .related(first_span, "the other way"),
        );
        return None;
    }
    let probe = path?.or(exec?).or(tcp?).unwrap_or(Probe::Running);
    let by_port = match probe {
        Probe::Http { .. } => Some("path"),
        Probe::Tcp => Some("tcp"),
        Probe::Exec { .. } | Probe::Running => None,
    };
    if let (Some(name), false) = (by_port, has_port) {
        let span = section.key_span(name).unwrap_or(section.head.clone());
        sink.push(
            Draft::new("needs-port", span, format!("health by `{name}` needs the service's port"))
                .label("the service has no `port`")
                .hint("write `port = 8080` in the service, with the port its program listens on"),
        );
        return None;
    }
    Some(probe)
}

fn health_path(value: &Value) -> Read<String> {
    let path = read::text(value, "a path in quotes, such as \"/healthz\"")?;
    let wrong =
        ValidationError::new("bad-path", format!("`{path}` is no path"), "expected a path that begins with /, such as \"/healthz\"");
    let bare = path.split_once("://").map_or(path.as_str(), |(_, rest)| rest);
    match path.bytes().find(|b| !(0x21..=0x7e).contains(b)) {
        Some(_) => at(value, Err(wrong.hint("blanks and other than ASCII letters stand as %20 and the like"))),
        None if path.len() > 2_000 => at(value, Err(wrong.hint("at most 2000 bytes"))),
        None if path.contains('#') => at(value, Err(wrong.hint("leave out what begins with #: it is never sent"))),
        None if path.starts_with('/') => Ok(path),
        None if path.contains("://") => {
            at(value, Err(wrong.hint(format!("only the path: \"{}\"", bare.find('/').map_or("/", |slash| &bare[slash..])))))
        }
        None => at(value, Err(wrong.hint(format!("did you mean \"/{path}\"?")))),
    }
}

pub(crate) fn drain(context: &Context, service: &Section, sink: &mut Sink) -> Option<Drain> {
    let default = Drain::default();
    let Some(block) = service.block("drain") else { return Some(default) };
    let section = Section::of(context, &schema::DRAIN, block, sink);
    let signal = section
        .or("signal", default.signal, sink, |v| at(v, units::signal(&read::text(v, "a signal's name in quotes, such as \"TERM\"")?)));
    let within_ms = section.or("within", default.within_ms, sink, |v| read::duration(v, "0s", "1h"));
    Some(Drain { signal: signal?, within_ms: within_ms? })
}

pub(crate) fn limits(context: &Context, service: &Section, sink: &mut Sink) -> Option<Limits> {
    let default = Limits::default();
    let Some(block) = service.block("limits") else { return Some(default) };
    let section = Section::of(context, &schema::LIMITS, block, sink);
    let memory_bytes = section.or("memory", default.memory_bytes, sink, |v| read::size(v, "4MiB", "16TiB"));
    let cpu_milli = section.or("cpu", default.cpu_milli, sink, read::cpu);
    let pids = section.or("pids", default.pids, sink, |v| read::number(v, 1, 1_000_000));
    let scratch_bytes = section.or("scratch", None, sink, |v| Ok(Some(read::size(v, "1MiB", "16TiB")?)));
    if let (Some(memory), Some(Some(scratch))) = (memory_bytes, scratch_bytes)
        && scratch > memory
    {
        let draft = Draft::new("scratch-over-memory", section.place("scratch"), "this is more than the server's memory");
        let draft = draft.label("what is written there lies in memory, and counts as the server's");
        sink.push(draft.hint("raise `memory`; much data, or data that is kept, belongs in a `volume`"));
        return None;
    }
    Some(Limits { memory_bytes: memory_bytes?, cpu_milli: cpu_milli?, pids: pids?, scratch_bytes: scratch_bytes? })
}

/// An address and its place, if it could be read.
pub(crate) type Listen = Option<(RouteAddress, Range<usize>)>;

/// The port that the resolver on the gateway has.
const RESOLVER_PORT: u16 = 53;

/// The route, and its address with its place for the whole file's check.
/// `may_have_port`: the service has a port, or its image may say one.
pub(crate) fn route(
    context: &Context,
    service: &Section,
    port: Option<Option<u16>>,
    may_have_port: bool,
    sink: &mut Sink,
) -> (Option<Option<Route>>, Listen) {
    let Some(block) = service.block("route") else { return (Some(None), None) };
    let section = Section::of(context, &schema::ROUTE, block, sink);
    let internal = section.or("internal", false, sink, read::truth);
    let own_port = section.or("port", None, sink, |v| Ok(u16::try_from(read::number(v, 1, 65_535)?).ok()));
    let listen = match internal {
        Some(true) => {
            if section.has("listen") {
                let draft = Draft::new("internal-route", section.place("listen"), "an internal route listens at no address of the machine");
                sink.push(draft.label("leave this out").hint("its port is the service's, or `port` of the route"));
            }
            own_port.zip(port).and_then(|(own, port)| own.or(port)).map(RouteAddress::Internal)
        }
        Some(false) => {
            if section.has("port") {
                let draft = Draft::new("internal-route", section.place("port"), "only an internal route has a port of its own");
                sink.push(draft.label("leave this out").hint("write internal = true, or the port in `listen`"));
            }
            let address = section.need("listen", sink, |v| read::unit(v, "an address in quotes, such as \":8080\"", units::address));
            address.map(RouteAddress::Edge)
        }
        None => None,
    };
    let place = ["listen", "port", "internal"].into_iter().find(|key| section.has(key)).map(|key| section.place(key));
    if listen == Some(RouteAddress::Internal(RESOLVER_PORT)) {
        let draft = Draft::new("internal-route", place.clone().unwrap_or(section.head.clone()), "port 53 inside is the resolver's");
        sink.push(draft.label("expected another port").hint("write route { internal = true  port = 5353 }"));
    }
    let default = Route::on(SocketAddr::from(([0, 0, 0, 0], 0)));
    let connect = section.or("connect_timeout", default.connect_timeout_ms, sink, |v| read::duration(v, "1ms", "1m"));
    let answer = section.or("answer_timeout", default.answer_timeout_ms, sink, |v| read::duration(v, "10ms", "1h"));
    let is_inside_nowhere = internal == Some(true) && own_port == Some(None) && !service.may_have("port");
    if !may_have_port || is_inside_nowhere {
        sink.push(
            Draft::new("needs-port", block.word.clone(), "a route needs the service's port")
                .label("the service has no `port`")
                .hint("write `port = 8080` in the service, with the port its program listens on"),
        );
    }
    let route = (|| Some(Route { listen: listen?, connect_timeout_ms: connect?, answer_timeout_ms: answer? }))();
    (route.map(Some), listen.zip(place))
}

pub(crate) fn checks(context: &Context, service: &mut Section, sink: &mut Sink) -> Option<Vec<Check>> {
    let mut all = Vec::new();
    for (label, block) in service.named("check", sink) {
        let section = Section::of(context, &schema::CHECK, block, sink);
        // A check's name follows the same rule as a service's: it becomes part of a group's.
        let name = label_name(context, label, block, sink, ServiceName::new);
        let run = section.need("run", sink, read::command);
        let within_ms = section.need("within", sink, |v| read::duration(v, "1s", "1h"));
        all.push((|| Some(Check { name: name?.to_string(), run: run?, within_ms: within_ms? }))());
    }
    all.into_iter().collect()
}

pub(crate) fn migrate(context: &Context, service: &Section, sink: &mut Sink) -> Option<Option<Migrate>> {
    let Some(block) = service.block("migrate") else { return Some(None) };
    let section = Section::of(context, &schema::MIGRATE, block, sink);
    let run = section.need("run", sink, read::command);
    let within_ms = section.need("within", sink, |v| read::duration(v, "1s", "24h"));
    Some(Some(Migrate { run: run?, within_ms: within_ms? }))
}
