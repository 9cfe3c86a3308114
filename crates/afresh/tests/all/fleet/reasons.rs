//! A release that crashes or never gets healthy says why, on the real program: in the verdict, in `why`, in the journal, and in logs of
//! servers that are gone. As root.

use super::world::Fleet;
use api::Client;
use api::logs::{self, LogFile, LogPart, LogQuery};
use model::{ServiceName, Verdict};

const CRASHES: &str = "echo 'Traceback (most recent call last):' >&2; echo '  File \"app.py\", line 1, in <module>' >&2; \
                       printf '\\033[2JModuleNotFoundError: No module named nothere\\n' >&2; exit 3";
const LISTENS_ELSEWHERE: &str = "exec busybox httpd -f -p 127.0.0.1:9090 -h /www";
const LISTENS_ON_NOTHING: &str = "while :; do sleep 1; done";
const ANSWERS_404: &str = "exec busybox httpd -f -p 8080 -h /etc";

fn told(fleet: &Fleet, args: &[&str]) -> String {
    let done = fleet.run(args);
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("$ afresh {}\n{text}", args.join(" "));
    text
}

#[test]
#[ignore = "needs root, an OCI runtime and busybox"]
fn a_release_that_fails_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(dir.path(), "reasons");
    let crashed = fleet.deploy(CRASHES, "2m");
    // What a server printed cannot move the terminal of who reads it.
    let last = "(last: exit 3, \"?[2JModuleNotFoundError: No module named nothere\")";
    assert!(crashed.verdict == Some(Verdict::RolledBack) && crashed.why.starts_with("crash loop: "), "{}", crashed.why);
    assert!(crashed.why.ends_with(last), "{}", crashed.why);
    let death = crashed.failure.and_then(|failure| failure.last_death).unwrap();
    assert_eq!(death.exit.unwrap().lines.len(), 3);
    let why = told(&fleet, &["why", "web"]);
    assert!(why.contains(last) && why.contains("| Traceback (most recent call last):") && !why.contains("\u{1b}[2J"), "{why}");
    for args in [&["events", "--service", "web"][..], &["rotation", "show", crashed.id.as_str()]] {
        let text = told(&fleet, args);
        assert!(text.contains(last), "{text}");
    }
    // The servers are gone, and their logs are still there.
    let (web, api) = (ServiceName::new("web").unwrap(), Client::unix(fleet.layout().api_socket()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let all: Vec<LogFile> = runtime.block_on(api.get(&logs::list(&web))).unwrap();
    let gone: Vec<&LogFile> = all.iter().filter(|log| log.group == crashed.to.group).collect();
    assert!(!gone.is_empty() && gone.iter().all(|log| !log.lives), "{all:?}");
    let part: LogPart = runtime.block_on(api.get(&logs::one(&web, &gone[0].instance, &LogQuery::default()))).unwrap();
    assert!(part.lines.len() == 3 && part.lines[0].at.is_some() && !part.lives, "{part:?}");

    for (script, reason) in [
        (LISTENS_ON_NOTHING, "health check GET /healthz: connection refused on port 8080 (the process listens on nothing)"),
        (LISTENS_ELSEWHERE, "health check GET /healthz: connection refused on port 8080 (the process listens on 127.0.0.1:9090)"),
        (ANSWERS_404, "health check GET /healthz: 404 \""),
    ] {
        let failed = fleet.deploy(script, "4s");
        println!("{}", failed.why);
        assert!(failed.verdict == Some(Verdict::RolledBack) && failed.why.contains(reason), "{script}: {}", failed.why);
        assert!(failed.failure.is_some_and(|failure| failure.probe.is_some()), "{script}");
    }
    fleet.whole(&[]).unwrap();
}
