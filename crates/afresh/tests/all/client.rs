//! Verbs that call a control plane, as a user runs them: the program over a control plane whose world is in memory. There is no terminal.

use crate::world::*;
use api::logs::{LOGS, LogFile, LogLine, LogPart};
use axum::extract::{Path, RawQuery};
use axum::routing::get;
use axum::{Json, Router};
use model::access::{Grant, Role};
use model::*;
use std::path::PathBuf;
use std::process::Command;

const FILE: &str = r#"
image "base" {
  debian   = "bookworm"
  packages = ["python3-minimal"]
}
service "web" {
  tier  = "front"
  image = image.base
  run   = ["one"]
  port  = 8080
  count = 3
  route { listen = "127.0.0.1:8080" }
  rollout { waves = ["1", "100%"]  soak = "30ms"  within = "1m" }
}
"#;

struct Shell {
    house: House,
    /// Where verbs run: with a service file, or without.
    dir: tempfile::TempDir,
    host: String,
    token: Option<PathBuf>,
}

impl Shell {
    fn over(house: House) -> Shell {
        let host = Layout::new(house.dir.path()).api_socket().display().to_string();
        Shell { house, dir: tempfile::tempdir().unwrap(), host, token: None }
    }

    async fn new() -> Shell {
        Shell::over(House::new().await)
    }

    /// With a control plane that answers on TCP.
    async fn on_tcp() -> Shell {
        let mut house = House::new().await;
        house.stop().await;
        std::fs::write(house.dir.path().join("policy.hcl"), "recipes = [\"token:ci\"]\n").unwrap();
        let listen = Some("127.0.0.1:0".parse().unwrap());
        house.server = Some(server::start(server::Config { listen, ..house.config() }).await.unwrap());
        let host = house.server.as_ref().unwrap().address().unwrap().to_string();
        Shell { host, ..Shell::over(house) }
    }

    fn with_file(self) -> Shell {
        std::fs::write(self.dir.path().join("afresh.hcl"), FILE).unwrap();
        self
    }

    /// A token in a file, for these services.
    async fn token(&mut self, name: &str, role: Role, services: &[&str]) {
        let grant = Grant { role, services: services.iter().map(|s| crate::world::name(s)).collect(), tiers: Default::default() };
        let token = self.house.token(name, grant).await;
        let path = self.dir.path().join(format!("{name}.token"));
        disk::write(&path, token.as_bytes(), 0o600, disk::Lasting::Soon).unwrap();
        self.token = Some(path);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afresh"));
        command.args(args).current_dir(self.dir.path()).env("NO_COLOR", "1").env("AFRESH_HOST", &self.host);
        command.env("AFRESH_DATA_DIR", self.dir.path().join("data")).stdin(std::process::Stdio::null());
        if let Some(token) = &self.token {
            command.arg("--token-file").arg(token);
        }
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        self.finish(args, self.command(args))
    }

    fn finish(&self, args: &[&str], mut command: Command) -> (i32, String) {
        let done = tokio::task::block_in_place(|| command.output().unwrap());
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        let code = done.status.code().unwrap();
        println!("$ afresh {}\n{text}exit {code}", args.join(" "));
        (code, text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_a_change_needs_yes() {
    let shell = Shell::new().await;
    shell.house.through(&web("one")).await;
    shell.house.through(&web("two")).await;
    for (args, plan) in [
        (&["rollback", "web"][..], "web web@r2 -> web@r1"),
        (&["deploy", "--remove", "web"], "web web@r2 -> nothing"),
        (&["image", "revoke", "aaaaaaaaaaaa", "--why", "a test"], "image base aaaaaaaaaaaa: used by web@r1 web@r2"),
    ] {
        let (code, text) = shell.run(args);
        assert!(code == 2 && text.contains("error[not-confirmed]") && text.contains("add --yes"), "{text}");
        assert!(plan.split(' ').all(|word| text.contains(word)), "the plan comes first: {text}");
    }
    assert_eq!(shell.house.status("web").await.active.unwrap().release.number, 2, "nothing was changed");
    let (code, text) = shell.run(&["rollback", "web", "--yes"]);
    assert!(code == 0 && text.contains("promoted"), "{text}");
    // The last service of a file, without a file.
    let (code, text) = shell.run(&["deploy", "--remove", "web", "--yes"]);
    assert!(code == 0 && text.contains("web is removed: its servers are retired"), "{text}");
    let (_, text) = shell.run(&["status"]);
    assert!(text.contains("no services yet"), "{text}");
    let (code, text) = shell.run(&["why", "web"]);
    assert!(code == 0 && text.contains("removed"), "status and why know the same: {text}");
}

/// As the service file refers to it, and as the host policy's file has it.
#[tokio::test(flavor = "multi_thread")]
async fn names_and_policies_are_written_as_in_their_files() {
    let shell = Shell::new().await;
    shell.house.through(&web("one")).await;
    let (code, text) = shell.run(&["why", "service.web"]);
    assert!(code == 0 && text.contains("web: web.1: no rotation is open"), "{text}");
    let (code, text) = shell.run(&["why", "image.web"]);
    assert!(code == 2 && text.contains("error[not-found]"), "a service is no image: {text}");
    let (code, text) = shell.run(&["policy", "show"]);
    assert!(code == 0 && text.contains("most {") && config::parse_policy(&text, "policy.hcl").is_ok(), "{text}");
    let (code, json) = shell.run(&["policy", "show", "--json"]);
    let read: model::access::HostPolicy = serde_json::from_str(&json).unwrap();
    assert!(code == 0 && read == config::parse_policy(&text, "policy.hcl").unwrap(), "{json}");
    // Before it is put in force.
    let new = shell.dir.path().join("new.hcl");
    std::fs::write(&new, &text).unwrap();
    let (code, text) = shell.run(&["policy", "check", "--policy", "new.hcl"]);
    assert!(code == 0 && text.contains("new.hcl is valid"), "{text}");
    std::fs::write(&new, "listen = 1\n").unwrap();
    let (code, text) = shell.run(&["policy", "check", "--policy", "new.hcl"]);
    assert!(code == 2 && text.contains("new.hcl:1:10"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_exits_as_terraform_does() {
    let shell = Shell::new().await.with_file();
    shell.house.through(&web("one")).await;
    for (args, code) in [
        (&["plan", "web", "--release", "r1", "--exit-code"][..], 0),
        (&["plan", "web", "--release", "r1"], 0),
        (&["plan", "web", "--release", "r7", "--exit-code"], 1),
        (&["plan", "web", "--release", "r7"], 2),
        (&["plan", "--exit-code", "--no-such-flag"], 1),
        (&["plan", "--exit-code", "--file", "/no/such/file"], 1),
    ] {
        assert_eq!(shell.run(args).0, code, "{args:?}");
    }
    // Settings alone are a change too, and are not put in force unasked.
    std::fs::write(shell.dir.path().join("afresh.hcl"), FILE.replace("\"1m\"", "\"2m\"")).unwrap();
    let (code, text) = shell.run(&["plan", "web", "--release", "r1", "--exit-code"]);
    assert!(code == 2 && text.contains("rollout.within: \"1m\" -> \"2m\"") && text.contains("only settings change"), "{text}");
    let (code, text) = shell.run(&["deploy", "web", "--release", "r1"]);
    assert!(code == 2 && text.contains("error[not-confirmed]"), "{text}");
    let (code, text) = shell.run(&["deploy", "web", "--release", "r1", "--yes"]);
    assert!(code == 0 && text.contains("web: its settings changed"), "{text}");
    assert_eq!(shell.run(&["plan", "web", "--release", "r1", "--exit-code"]).0, 0);
    std::fs::remove_file(shell.dir.path().join("afresh.hcl")).unwrap();
    assert_eq!(shell.run(&["plan", "--remove", "web", "--exit-code"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_and_rotations_take_the_same_commands() {
    let shell = Shell::new().await;
    let both = |program| request(vec![spec("worker", "back", program, 1, None), spec("web", "front", program, 1, None)], None);
    shell.house.fake.state().slow = true;
    let id = shell.house.deploy(&both("one")).await.unwrap().rollout.unwrap();
    let (code, text) = shell.run(&["rollout", "pause", "1"]);
    assert!(code == 0 && text.contains("rollout.1: pause: worker.1;") && text.contains("not begun until it is resumed: web"), "{text}");
    let (_, text) = shell.run(&["rollout", "list"]);
    assert!(text.contains("paused by root, 0 of 2 done"), "{text}");
    let (code, text) = shell.run(&["rollout", "resume", "rollout.1"]);
    assert!(code == 0 && text.contains("still to come: web"), "{text}");
    shell.house.fake.state().slow = false;
    let (code, text) = shell.run(&["rollout", "show", "1", "--follow"]);
    assert!(code == 0 && text.contains("promoted"), "{text}");
    shell.house.until_rollout(&id).await;
    shell.house.fake.state().slow = true;
    let second = shell.house.deploy(&both("two")).await.unwrap();
    let (code, text) = shell.run(&["rotation", "abort", second.rotations[0].as_str()]);
    assert!(code == 0 && text.contains("worker.2: abort;"), "{text}");
    shell.house.fake.state().slow = false;
    let (code, text) = shell.run(&["rotation", "show", "worker.2", "--follow"]);
    assert!(code == 5 && text.contains("rolled back") && text.contains("command abort by root"), "{text}");
    shell.house.until_rollout(&second.rollout.unwrap()).await;
    let (code, text) = shell.run(&["rollout", "stop", "2"]);
    assert!(code == 4 && text.contains("error[closed]"), "{text}");
    assert_eq!(shell.run(&["rollout", "show", "web.2"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_on_a_socket_too() {
    let mut shell = Shell::new().await;
    shell.house.through(&web("one")).await;
    shell.house.through(&request(vec![spec("worker", "back", "one", 1, None)], Some("worker"))).await;
    assert_eq!(shell.run(&["rollback", "worker"]).0, 4, "as root: there is nothing before");
    shell.token("ci", Role::Deploy, &["web"]).await;
    let (code, text) = shell.run(&["rollback", "worker"]);
    assert!(code == 4 && text.contains("token:ci is not for service worker"), "{text}");
    // A foreign service is refused in the same words by all that show it.
    for verb in ["status", "why", "logs"] {
        let (code, text) = shell.run(&[verb, "worker"]);
        assert!(code == 4 && text.contains("error[forbidden]"), "{verb}: {text}");
    }
    let (code, text) = shell.run(&["why", "nobody"]);
    assert!(code == 4 || code == 2, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_control_plane_is_called_with_a_token() {
    let mut shell = Shell::on_tcp().await.with_file();
    shell.house.through(&web("one")).await;
    let (code, text) = shell.run(&["status"]);
    assert!(code == 2 && text.contains("error[unauthorized]") && text.contains("--token-file"), "{text}");
    shell.token("ci", Role::Deploy, &["web"]).await;
    assert_eq!(shell.run(&["status", "web"]).0, 0);
    assert_eq!(shell.run(&["plan", "web", "--release", "r1", "--exit-code"]).0, 0);
    let (code, text) = shell.run(&["deploy", "web", "--artifact", ".", "--yes"]);
    assert!(code == 2 && text.contains("error[image-not-baked]") && text.contains("bake it on that host"), "{text}");
    let (code, text) = shell.run(&["deploy", "web", "--artifact", "./nothere", "--yes"]);
    assert!(code == 2 && text.contains("error[no-file]"), "{text}");
    assert!(!shell.dir.path().join("data").exists(), "nothing is made on this machine");
    // In the environment: the file of it, or the token itself.
    let file = shell.token.take().unwrap();
    let token = std::fs::read_to_string(&file).unwrap();
    for (name, value) in [("AFRESH_TOKEN_FILE", file.display().to_string()), ("AFRESH_TOKEN", token)] {
        let mut command = shell.command(&["status", "web"]);
        command.env(name, value);
        assert_eq!(shell.finish(&["status", "web"], command).0, 0, "{name}");
    }
}

/// In the keeper's place: logs of three servers, of which one is gone. The second part of the first one has its end.
async fn keep_logs(layout: &Layout) {
    let listener = tokio::net::UnixListener::bind(layout.host_socket()).unwrap();
    let file = |instance: &str, lives| {
        let instance: InstanceId = instance.parse().unwrap();
        LogFile { group: instance.group().unwrap(), instance, lives, bytes: 7, written: Time(1) }
    };
    let all = vec![file("web-r1-1-1", false), file("web-r2-2-1", true), file("worker-r1-1-1", true)];
    let part = |Path(instance): Path<InstanceId>, RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        let line = |at, text: &str| LogLine { at: Some(Time(at)), stream: None, text: text.into() };
        let is_second = query.contains("from=");
        let lines = match (instance.as_str(), is_second) {
            ("web-r1-1-1", false) => vec![line(1_000, "old 1"), line(3_000, "old 3")],
            ("web-r1-1-1", true) => vec![line(5_000, "old 5")],
            ("web-r2-2-1", false) => vec![line(2_000, "new 2"), line(4_000, "new 4"), line(6_000, "new 6")],
            _ => Vec::new(),
        };
        let lines = lines.into_iter().filter(|line| !query.contains("since=4000") || line.at >= Some(Time(4_000))).collect();
        let more = instance.as_str() == "web-r1-1-1" && !is_second;
        Json(LogPart { instance, lines, next: "1:2:3".into(), more, lost: false, dropped: 0, lives: false })
    };
    let router = Router::new().route(LOGS, get(|| async { Json(all) })).route(&format!("{LOGS}/{{instance}}"), get(part));
    tokio::spawn(async move { axum::serve(listener, router).await });
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_a_service_are_merged_by_time() {
    let shell = Shell::new().await;
    shell.house.through(&web("one")).await;
    keep_logs(&Layout::new(shell.house.dir.path())).await;
    let (code, text) = shell.run(&["logs", "web"]);
    let all = "web-r1-1-1 | old 1\nweb-r2-2-1 | new 2\nweb-r1-1-1 | old 3\nweb-r2-2-1 | new 4\nweb-r1-1-1 | old 5\nweb-r2-2-1 | new 6\n";
    assert_eq!((code, text.as_str()), (0, all), "gone servers too, the oldest line first");
    assert_eq!(shell.run(&["logs", "web", "-n", "2"]).1, "web-r1-1-1 | old 5\nweb-r2-2-1 | new 6\n");
    assert_eq!(shell.run(&["logs", "web", "--since", "1970-01-01T00:00:04Z", "-n", "1"]).1, "web-r2-2-1 | new 6\n");
    assert_eq!(shell.run(&["logs", "web-r2-2-1", "-t", "-n", "1"]).1, "1970-01-01T00:00:06.0Z - new 6\n");
    let (_, text) = shell.run(&["logs", "web", "--json", "-n", "1"]);
    assert_eq!(text, "{\"instance\":\"web-r2-2-1\",\"at\":6000,\"stream\":null,\"text\":\"new 6\"}\n");
    let (code, text) = shell.run(&["logs", "web-r9-9-9"]);
    assert!(code == 2 && text.contains("error[no-log]") && text.contains("no log of web-r9-9-9"), "{text}");
    // Followed, what is there is printed once.
    let mut follow = shell.command(&["logs", "web", "-f", "-n", "1"]);
    let mut child = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    child.kill().unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "web-r2-2-1 | new 6\n");
}

/// What a program prints must not become commands to the terminal of who reads its log, nor a line of another server.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_output_does_not_reach_a_terminal() {
    const HOSTILE: &str = "\x1b]0;title\x07\x1b]52;c;eA==\x07\x1b[2J\rweb-r9-9-9 | forged \u{9b}6n\u{202e}gnp\x7f \x1b[31mred";
    let shell = Shell::new().await;
    shell.house.through(&web("one")).await;
    let instance: InstanceId = "web-r1-1-1".parse().unwrap();
    let file = LogFile { group: instance.group().unwrap(), instance: instance.clone(), lives: false, bytes: 7, written: Time(1) };
    let lines = vec![LogLine { at: None, stream: None, text: HOSTILE.into() }];
    let part = LogPart { instance, lines, next: "1:2:3".into(), more: false, lost: false, dropped: 0, lives: false };
    let router =
        Router::new().route(LOGS, get(|| async { Json(vec![file]) })).route(&format!("{LOGS}/{{instance}}"), get(|| async { Json(part) }));
    let listener = tokio::net::UnixListener::bind(Layout::new(shell.house.dir.path()).host_socket()).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let on_terminal = |args: &[&str]| {
        let mut command = shell.command(args);
        // Nothing is taken out of the output, as on a terminal.
        command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
        shell.finish(args, command).1
    };
    let text = on_terminal(&["logs", "web-r1-1-1"]);
    assert_eq!(text, "?]0;title??]52;c;eA==??[2J?web-r9-9-9 | forged ?6n?gnp? \x1b[31mred\x1b[0m\n");
    for json in [on_terminal(&["logs", "web", "--json"]), shell.run(&["logs", "web", "--json"]).1] {
        assert_eq!(json.trim_end_matches('\n').chars().find(|c| !model::text::is_shown(*c)), None, "{json:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["text"], HOSTILE, "the value is whole");
    }
}

/// Found by users: jobs were in a list of their own, and `status` had none of them.
#[tokio::test(flavor = "multi_thread")]
async fn status_has_the_jobs() {
    let shell = Shell::new().await;
    let mut request = web("one");
    let job = serde_json::json!({ "name": "report", "schedule": "0 3 * * *", "run": ["true"], "deadline_ms": 60_000, "within_ms": 60_000 });
    request.file.services.values_mut().for_each(|service| service.jobs = vec![serde_json::from_value(job.clone()).unwrap()]);
    shell.house.through(&request).await;
    for args in [&["status"][..], &["status", "web"]] {
        let (code, text) = shell.run(args);
        assert!(code == 0 && text.contains("report") && text.contains("0 3 * * * UTC") && text.contains("in "), "{text}");
    }
    let (_, text) = shell.run(&["status", "--json"]);
    let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(seen["jobs"][0]["name"], "report");
}
