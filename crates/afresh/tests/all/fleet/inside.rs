//! A service inside (`route { internal = true }`): rotated, rolled back and hit by faults while another service's server asks it without a pause.

use super::world::{Fleet, Users};
use model::{Gateway, InstanceId, Verdict};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn service(name: &str, run: &str, more: &str) -> String {
    format!(
        "service \"{name}\" {{\n  tier = \"web\"  image = image.base  run = [\"sh\", \"-c\", {run:?}]\n  drain {{ within = \"1s\" }}\n  \
         limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64 }}\n  rollout {{ waves = [\"100%\"]  soak = \"200ms\"  within = \"1m\" }}\n  {more}\n}}\n"
    )
}

#[test]
#[ignore = "needs root"]
fn a_service_inside_is_rotated_under_load_and_no_request_fails() {
    let dir = tempfile::Builder::new().prefix("afresh-inside-").tempdir().unwrap();
    let fleet = Fleet::bare(dir.path(), "data");
    let port = fleet.listen.port();
    let worker = |text: &str| {
        let run = format!("mkdir -p /tmp/www; echo {text} ok > /tmp/www/healthz; exec busybox httpd -f -p 8080 -h /tmp/www");
        let more = format!(
            "port = 8080  count = 3\n  health {{ path = \"/healthz\"  every = \"200ms\"  timeout = \"1s\"  healthy_for = \"200ms\" }}\n  \
             route {{ internal = true  port = {port}  answer_timeout = \"2s\" }}\n  network {{ egress = \"none\" }}"
        );
        service("worker", &run, &more)
    };
    let deploy = |text: &str| {
        let status = fleet.deploy_service(text);
        assert_eq!(status.verdict, Some(Verdict::Promoted), "{}\n{}", status.why, fleet.said_by_up());
    };
    deploy(&worker("one"));
    let sleep = "sleep 100000";
    deploy(&service("client", sleep, "count = 1\n  network { egress = \"none\"  allow = [service.worker] }"));
    deploy(&service("stranger", sleep, "count = 1\n  network { egress = \"any\"  allow = [\"host:1-65535\"] }"));
    let network = |name: &str| {
        let pid = fleet.program_pid(&InstanceId::new(format!("{name}-r1-1-1")).unwrap());
        File::open(format!("/proc/{pid}/ns/net")).unwrap()
    };
    let gateway: Gateway = serde_json::from_slice(disk::state::content(&std::fs::read(fleet.layout().gateway()).unwrap())).unwrap();
    let inside: Vec<SocketAddr> = gateway.addresses().into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    let users: Vec<Users> = inside.iter().map(|at| Users::start_in(network("client"), *at)).collect();
    // Who does not name it does not reach it, and it is at no address of the machine.
    let stranger = network("stranger");
    let (at, edge) = (inside.clone(), SocketAddr::from(([127, 0, 0, 1], port)));
    let saw = std::thread::spawn(move || {
        nix::sched::setns(stranger, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        at.iter().map(|at| TcpStream::connect_timeout(at, Duration::from_secs(2)).map(drop).map_err(|e| e.kind())).collect::<Vec<_>>()
    });
    assert!(saw.join().unwrap().iter().all(|saw| *saw == Err(std::io::ErrorKind::ConnectionRefused)));
    assert!(TcpStream::connect(edge).is_err(), "the machine itself finds it at its gateway alone");
    for text in ["two", "three"] {
        deploy(&worker(text));
    }
    let back = fleet.run(&["rollback", "worker", "--yes"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    // Killed, the keeper and both of the balancer's control processes break nothing.
    ["host", "proxy", "serve"].into_iter().for_each(|role| fleet.kill_role(role));
    let begun = std::time::Instant::now();
    while !fleet.run(&["status"]).status.success() {
        assert!(begun.elapsed() < super::world::patience(), "{}", fleet.said_by_up());
        std::thread::sleep(Duration::from_millis(100));
    }
    deploy(&worker("four"));
    let status = String::from_utf8_lossy(&fleet.run(&["status"]).stdout).into_owned();
    println!("{status}");
    for (users, at) in users.into_iter().zip(&inside) {
        let (sent, failed) = users.finish();
        println!(
            "from another service's server to {at}: 3 rotations and a rollback, {sent} requests, {} failed {failed:?}",
            failed.values().sum::<u64>()
        );
        assert!(sent > 100 && failed.is_empty(), "{failed:?} of {sent}");
    }
}
