//! What services offer inside: who reaches it and who knows of it, measured from inside servers. The test listens in the balancer's place.

use crate::attempts::{PERL, attempt, attempt_in, with_network};
use crate::common::{Host, Want};
use crate::estate::{self, HOST4, sh};
use model::{DesiredGroup, GroupSpec, Route, RouteAddress};
use std::net::{IpAddr, TcpListener};

const WORKER: u16 = 7_010;
const OTHER: u16 = 7_011;

fn inside(mut spec: GroupSpec, port: u16) -> GroupSpec {
    if let DesiredGroup::Run { release, .. } = &mut spec.desired {
        release.route = Some(Route { listen: RouteAddress::Internal(port), ..Route::on(([0, 0, 0, 0], 0).into()) });
    }
    spec
}

#[test]
#[ignore = "needs root"]
fn only_servers_that_name_a_service_reach_it_and_know_of_it() {
    estate::on_a_host_of_its_own(|estate| {
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        for (name, port) in [("worker-r1-1", WORKER), ("other-r1-1", OTHER)] {
            host.declare(1, inside(host.group(Want { name, ..Want::default() }), port));
            host.pid(&format!("{name}-1"));
        }
        let told: model::Gateway = serde_json::from_slice(disk_content(&std::fs::read(host.layout.gateway()).unwrap())).unwrap();
        let gateways = told.addresses();
        let _listeners: Vec<TcpListener> =
            gateways.iter().flat_map(|ip| [WORKER, OTHER].map(|port| TcpListener::bind((*ip, port)).unwrap())).collect();
        // What each file says, and whether it opens the two.
        let clients = [
            ("named", r#"{"egress":"none","allow":["service.worker"]}"#, [true, false]),
            ("both", r#"{"egress":"none","allow":["service.other","service.worker","service.nobody"]}"#, [true, true]),
            ("plain", r#"{"egress":"none"}"#, [false, false]),
            ("any", r#"{"egress":"any"}"#, [false, false]),
            ("ports", r#"{"egress":["0.0.0.0/0:1-65535"],"allow":["host:1-65535"]}"#, [false, false]),
        ];
        let mut wrong = Vec::new();
        let mut pids = Vec::new();
        for (name, network, open) in &clients {
            host.declare(1, with_network(host.group(Want { name: &format!("{name}-r1-1"), ..Want::default() }), network));
            let pid = host.pid(&format!("{name}-r1-1-1"));
            pids.push(pid);
            for ((service, port), open) in [("worker", WORKER), ("other", OTHER)].into_iter().zip(open) {
                for ip in &gateways {
                    let saw = attempt(pid, &format!("tcp {ip} {port}"));
                    let want = if *open { "reached" } else { "failed: Connection refused" };
                    println!("{name:6} {network:60} {service:6} [{ip}]:{port} {saw}");
                    if saw != want {
                        wrong.push(format!("{name}: {service} at {ip}: {saw}"));
                    }
                    let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
                    let saw = attempt(pid, &format!("ask {} 53 {service}.internal {kind} udp", gateways[0]));
                    let want = if *open { format!("NOERROR {ip}") } else { "NXDOMAIN".to_string() };
                    if saw != want {
                        wrong.push(format!("{name}: {service}.internal {kind}: {saw}, not {want}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // Nobody beyond this host, with a route that leads to the gateway.
        let IpAddr::V4(gateway) = gateways[0] else { unreachable!() };
        estate.in_lan(move || sh(&format!("ip route add {gateway} via {HOST4}")));
        let from_lan = estate.in_lan(move || attempt_in("/proc/thread-self/ns/net", &format!("tcp {gateway} {WORKER}")));
        assert_eq!(from_lan, "nothing");
        // A service that is gone offers nothing.
        host.declare(2, host.gone("worker-r1-1"));
        host.until("worker-r1-1", "none", |seen| seen.instances.is_empty());
        host.until_true("it is closed", || {
            let saw = attempt(pids[0], &format!("tcp {gateway} {WORKER}"));
            let known = attempt(pids[0], &format!("ask {gateway} 53 worker.internal A udp"));
            if saw != "reached" && known == "NXDOMAIN" { Ok(()) } else { Err(format!("{saw} {known}")) }
        });
        assert_eq!(attempt(pids[1], &format!("tcp {gateway} {OTHER}")), "reached");
    });
}

/// A state file's content, before its digest.
fn disk_content(bytes: &[u8]) -> &[u8] {
    disk::state::content(bytes)
}
