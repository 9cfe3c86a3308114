//! Two versions of Afresh on one data directory: every mix of keeper, balancer and control plane, one after the other, and a way back to
//! the older one alone. `AFRESH_OTHER` names the other program; without it both are the one that is tested.

use super::world::{Fleet, Users, send};
use model::Verdict;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLES: [&str; 3] = ["host", "proxy", "serve"];

/// The three processes, each of one of two programs. Servers and the data plane outlive them.
struct Roles(Vec<Child>);

impl Roles {
    fn start(fleet: &Fleet, log: &std::path::Path, programs: [&OsString; 3]) -> Roles {
        let children = ROLES.into_iter().zip(programs).map(|(role, program)| {
            let log = fs::File::options().create(true).append(true).open(log).unwrap();
            let mut c = Command::new(program);
            c.arg(role).arg("--data-dir").arg(&fleet.data).env("AFRESH_UPKEEP_CLOCK", "off").stdin(Stdio::null());
            c.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
        });
        let roles = Roles(children.collect());
        let begun = Instant::now();
        while fleet.get::<serde_json::Value>("/v1/services").is_err() {
            assert!(begun.elapsed() < super::world::patience(), "it does not begin: {}", fs::read_to_string(log).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        roles
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        self.0.iter().for_each(|child| send(child.id(), Signal::SIGTERM));
        self.0.iter_mut().for_each(|child| drop(child.wait()));
    }
}

#[test]
#[ignore = "needs root"]
fn every_mix_of_two_versions_deploys_on_one_data_directory() {
    let dir = tempfile::Builder::new().prefix("afresh-fleet-").tempdir().unwrap();
    let fleet = Fleet::empty(dir.path(), "data");
    let own = fleet.command(&[]).get_program().to_owned();
    let other = std::env::var_os("AFRESH_OTHER").unwrap_or_else(|| own.clone());
    let log = dir.path().join("roles.log");
    // The older one begins; at the end it is alone again.
    let mixes: Vec<u8> = (0..8).chain([0]).collect();
    let mut users: Option<Users> = None;
    let mut wrong = Vec::new();
    for (n, mix) in mixes.into_iter().enumerate() {
        let of = |bit: usize| if mix >> bit & 1 == 1 { &own } else { &other };
        let told: Vec<String> =
            ROLES.iter().enumerate().map(|(bit, role)| format!("{role} {}", if mix >> bit & 1 == 1 { "new" } else { "old" })).collect();
        let roles = Roles::start(&fleet, &log, [of(0), of(1), of(2)]);
        let status = fleet.deploy(&format!("sleep 0.0{n}; exec busybox httpd -f -p 8080 -h /www"), "2m");
        let said = format!("{}: {:?}, {}", told.join(", "), status.verdict, status.why);
        println!("{said}");
        if status.verdict != Some(Verdict::Promoted) {
            wrong.push(said);
        }
        if users.is_none() {
            users = Some(Users::start(fleet.listen));
        }
        // A server that dies is replaced, whoever declared it.
        let alarms: serde_json::Value = fleet.get("/v1/alarms").unwrap();
        if alarms.as_array().is_none_or(|all| !all.is_empty()) {
            wrong.push(format!("{}: {alarms}", told.join(", ")));
        }
        drop(roles);
    }
    let (sent, failed) = users.unwrap().finish();
    println!("{} of {sent} requests failed: {failed:?}", failed.values().sum::<u64>());
    if std::env::var_os("AFRESH_SHOW").is_some() {
        println!("{}", fs::read_to_string(&log).unwrap());
    }
    assert!(wrong.is_empty() && failed.is_empty(), "{}\n{failed:?}\n{}", wrong.join("\n"), fs::read_to_string(&log).unwrap());
}
