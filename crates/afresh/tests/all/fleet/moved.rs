//! A service inside is renamed while another's server asks it without a pause: the same servers go on, both names are answered, and it is
//! upgraded and rolled back under the new one.

use super::world::{Fleet, Users};
use model::{Gateway, InstanceId, Verdict};
use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

fn web(name: &str, text: &str, port: u16) -> String {
    let run = format!("mkdir -p /tmp/www; echo {text} ok > /tmp/www/healthz; exec busybox httpd -f -p 8080 -h /tmp/www");
    format!(
        "service \"{name}\" {{\n  tier = \"web\"  image = image.base  run = [\"sh\", \"-c\", {run:?}]\n  port = 8080  count = 3\n  \
         drain {{ within = \"1s\" }}\n  limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64 }}\n  \
         health {{ path = \"/healthz\"  every = \"200ms\"  timeout = \"1s\"  healthy_for = \"200ms\" }}\n  \
         route {{ internal = true  port = {port}  answer_timeout = \"2s\" }}\n  network {{ egress = \"none\" }}\n  \
         rollout {{ waves = [\"100%\"]  soak = \"200ms\"  within = \"1m\" }}\n}}\n"
    )
}

fn client(names: &str) -> String {
    format!(
        "service \"client\" {{\n  tier = \"web\"  image = image.base  run = [\"sleep\", \"100000\"]  count = 1\n  \
         network {{ egress = \"none\"  allow = [service.{names}] }}\n  drain {{ within = \"1s\" }}\n  \
         limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64 }}\n  rollout {{ waves = [\"100%\"]  soak = \"200ms\"  within = \"1m\" }}\n}}\n"
    )
}

/// The address of a name, asked as a program would: one question of DNS over UDP, from within a server's network.
fn address(network: File, resolver: IpAddr, name: &str) -> Option<IpAddr> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let asked = std::thread::spawn(move || {
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&question, (resolver, 53)).unwrap();
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).unwrap();
        (answer[7] > 0).then(|| IpAddr::from(<[u8; 4]>::try_from(&answer[length - 4..length]).unwrap()))
    });
    asked.join().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_service_is_renamed_under_load_and_no_request_fails() {
    let dir = tempfile::Builder::new().prefix("afresh-moved-").tempdir().unwrap();
    let fleet = Fleet::bare(dir.path(), "data");
    let port = fleet.listen.port();
    let promoted = |text: &str| {
        let status = fleet.deploy_service(text);
        assert_eq!(status.verdict, Some(Verdict::Promoted), "{}\n{}", status.why, fleet.said_by_up());
        status
    };
    promoted(&web("web", "one", port));
    promoted(&client("web"));
    let server = InstanceId::new("client-r1-1-1").unwrap();
    let network = || File::open(format!("/proc/{}/ns/net", fleet.program_pid(&server))).unwrap();
    let gateway: Gateway = serde_json::from_slice(disk::state::content(&std::fs::read(fleet.layout().gateway()).unwrap())).unwrap();
    let gateway = IpAddr::from(gateway.v4);
    let asks = |name: &str| address(network(), gateway, name);
    assert_eq!((asks("web.internal"), asks("shop.internal")), (Some(gateway), None));
    // By number and process: a server that was replaced has another.
    let servers = || fleet.servers().into_iter().map(|(id, _)| (fleet.program_pid(&id), id)).collect::<Vec<_>>();
    let before = servers();
    assert_eq!(before.len(), 3);
    let users = Users::start_in(network(), SocketAddr::new(gateway, port));
    let moved = "moved {\n  from = service.web\n  to = service.shop\n}\n";
    let opened = fleet.change(&format!("{}{}{moved}", web("shop", "one", port), client("shop")));
    assert_eq!((opened.rotations.len(), opened.rollout.is_some(), opened.renamed.len()), (0, false, 1), "{opened:?}");
    assert_eq!(servers(), before, "the same servers, the same processes");
    let begun = Instant::now();
    while asks("shop.internal") != Some(gateway) {
        assert!(begun.elapsed() < super::world::patience());
    }
    println!("shop.internal is answered {} ms after the rename", begun.elapsed().as_millis());
    assert_eq!(asks("web.internal"), Some(gateway), "running programs go on with the old name");
    let said = |args: &[&str]| {
        let ran = fleet.run(args);
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    };
    assert!(said(&["status"]).contains("shop (its servers are named web, its id)"), "{}", said(&["status"]));
    for args in [
        &["instance", "list", "shop"][..],
        &["release", "list", "shop"],
        &["why", "shop"],
        &["events", "--service", "shop"],
        &["logs", "shop"],
    ] {
        assert!(fleet.run(args).status.success(), "{args:?}: {}", said(args));
    }
    // Everything is killed, and comes back with the name.
    ["host", "proxy", "serve"].into_iter().for_each(|role| fleet.kill_role(role));
    let begun = Instant::now();
    while !fleet.run(&["status", "shop"]).status.success() {
        assert!(begun.elapsed() < super::world::patience(), "{}", fleet.said_by_up());
        std::thread::sleep(Duration::from_millis(100));
    }
    let upgraded = promoted(&web("shop", "two", port));
    assert_eq!((upgraded.service.as_str(), upgraded.to.group.as_str()), ("shop", "web-r2-2"));
    let back = fleet.run(&["rollback", "shop", "--yes"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    assert_eq!((asks("web.internal"), asks("shop.internal"), asks("store.internal")), (Some(gateway), Some(gateway), None));
    let (sent, failed) = users.finish();
    println!("a rename, an upgrade and a rollback: {sent} requests, {} failed {failed:?}", failed.values().sum::<u64>());
    assert!(sent > 100 && failed.is_empty(), "{failed:?} of {sent}");
}
