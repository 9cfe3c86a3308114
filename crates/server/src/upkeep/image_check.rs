//! A check of an image, in an instance that has nothing but the image. The group's name is recorded before it is declared, and the group is
//! removed afterwards, also after a kill.

use super::lives::Upkeep;
use crate::app::App;
use lifecycle::{Life, Test, TestNow, Work};
use model::{
    DesiredGroup, Digest, Drain, Exit, Fault, Fence, GroupName, GroupSpec, Health, ImageCheck, ImageProbe, InstanceState, Layout, Limits,
    Network, OneShot, Probe, Release, ServiceName, ServiceSpec, Stamp, Time,
};
use rotation::Provider;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

const SHELL: &str = "/bin/sh";
/// A name and its group's must fit 63 bytes with the number behind it.
const NAME_MAX: usize = 30;
/// How much of an instance's log is shown with a check that failed.
const LOG_TAIL_BYTES: u64 = 400;
/// A byte that is not text takes three.
const SHOWN_BYTES_MAX: usize = 1_200;

fn stem(life: &Life) -> String {
    let name = life.name.as_str();
    format!("{}{}", model::IMAGE_CHECKS, name[..name.len().min(NAME_MAX)].trim_end_matches('-'))
}

/// Starts a check, or declares one again that was started.
pub fn start(app: &App, upkeep: &Upkeep, life: &Life, digest: &Digest, check: usize) -> Result<(), Fault> {
    let Some(wanted) = life.checks(digest).get(check) else {
        return Err(Fault::ours("no-such-check", format!("{} has no check {check}", life.name)));
    };
    let now = app.now();
    let group = match &life.work {
        Some(Work::Test(test)) if test.digest == *digest && test.check == check => test.group.clone(),
        // By the wall clock: such a name is never used twice, even if the life's file is lost.
        _ => GroupName::new(format!("{}-{}", stem(life), now.0)).map_err(|e| Fault::ours("bad-name", e.to_string()))?,
    };
    let test = Test { digest: digest.clone(), check, group: group.clone(), begun: now };
    upkeep.edit(&life.name, |life| {
        life.work = Some(Work::Test(test));
        if !life.leftovers.contains(&group) {
            life.leftovers.push(group.clone());
        }
    })?;
    let stamp = Stamp { fence: Fence(1), seq: 1 };
    Provider::declare(&app.provider, stamp, &spec(app, life, group, digest, wanted)?)
}

fn spec(app: &App, life: &Life, group: GroupName, digest: &Digest, check: &ImageCheck) -> Result<GroupSpec, Fault> {
    let service = ServiceName::new(stem(life)).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
    let shell = |test: &str, path: &str| [SHELL, "-c", test, "sh", path].map(str::to_string).to_vec();
    let (run, port) = match &check.what {
        ImageProbe::Run { command } => (command.clone(), None),
        ImageProbe::Port { command, port } => (command.clone(), Some(*port)),
        ImageProbe::File { path } => (shell("test -e \"$1\" || { echo \"$1 is not there\"; exit 1; }", path), None),
        ImageProbe::Absent { path } => (shell("test ! -e \"$1\" || { echo \"$1 is there\"; exit 1; }", path), None),
    };
    let probe = if port.is_some() { Probe::Tcp } else { Probe::Running };
    let release = Release {
        service: service.clone(),
        number: 1,
        image_name: life.name.clone(),
        image: digest.clone(),
        artifact: None,
        run: run.clone(),
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: user(&check.what),
        port,
        health: Health { probe, every_ms: 200, healthy_for_ms: 0, ..Health::default() },
        drain: Drain { within_ms: 1_000, ..Drain::default() },
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::closed(),
        route: None,
        checks: Vec::new(),
        migrate: None,
        container: None,
    };
    // The service would have its variables and its working directory.
    let said = app.images.container(digest)?;
    let release = release.on(&BTreeSet::new(), said.as_ref().map(|c| &c.defaults))?;
    let once = port.is_none().then(|| OneShot::of(run));
    Ok(GroupSpec { group, service, desired: DesiredGroup::Run { release, count: 1, once } })
}

/// A command has the rights of a server, and root without capabilities is nobody that a server is: what programs do as root, such as giving a
/// file away, fails. Whether a path is there is for root to see.
fn user(what: &ImageProbe) -> String {
    match what {
        ImageProbe::Run { .. } | ImageProbe::Port { .. } => ServiceSpec::default_user(),
        ImageProbe::File { .. } | ImageProbe::Absent { .. } => "0:0".to_string(),
    }
}

pub fn observe(app: &App, upkeep: &Upkeep, life: &Life, test: &Test) -> Result<TestNow, Fault> {
    let seen = Provider::observe(&app.provider, &test.group)?;
    let by_port = life.checks(&test.digest).get(test.check).is_some_and(|c| matches!(c.what, ImageProbe::Port { .. }));
    if seen.stamp.is_none() {
        return Ok(TestNow::NotThere);
    }
    for instance in &seen.instances {
        match &instance.exit {
            Some(exit) if exit.code == 0 && !by_port => return Ok(TestNow::Passed),
            Some(exit) => return Ok(TestNow::Failed(failed(exit, log_tail(&upkeep.layout, &instance.id)))),
            None if by_port && instance.state == InstanceState::Running && instance.healthy_ms.is_some() => return Ok(TestNow::Passed),
            None => {}
        }
    }
    if by_port && seen.deaths > 0 {
        return Ok(TestNow::Failed("its program exited before the port was open".to_string()));
    }
    Ok(TestNow::Running)
}

/// Checks for files run in the image's own shell: what cannot be started shows nothing of the path.
fn failed(exit: &Exit, last_output: String) -> String {
    match &exit.not_started {
        Some(why) if why.contains(SHELL) => {
            format!(
                "it has no {SHELL}, which checks by `file` and `absent` need; an image without a shell is checked by `run` with a program of its own"
            )
        }
        Some(why) => format!("not started: {why}"),
        None => format!("exit {}{last_output}", exit.code),
    }
}

fn log_tail(layout: &Layout, id: &model::InstanceId) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(layout.log(id))?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        // The text comes from the program, and a terminal shows it.
        Ok(model::text::shown(&String::from_utf8_lossy(&bytes).trim().replace('\n', " | "), SHOWN_BYTES_MAX))
    };
    match read() {
        Ok(text) if !text.is_empty() => format!(", last output: {text}"),
        _ => String::new(),
    }
}

/// Removes groups that tests left, except the one in progress.
pub fn clear(app: &App, upkeep: &Upkeep, life: &Life) -> Result<(), Fault> {
    let under_way = match &life.work {
        Some(Work::Test(test)) => Some(&test.group),
        _ => None,
    };
    for group in life.leftovers.iter().filter(|g| Some(*g) != under_way) {
        let service = ServiceName::new(stem(life)).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        let seen = Provider::observe(&app.provider, group)?;
        let end = Stamp { fence: Fence(1), seq: 2 };
        // Also one that does not exist: its declaration may still arrive, and this one's stamp makes the keeper refuse it.
        if seen.stamp != Some(end) {
            Provider::declare(&app.provider, end, &GroupSpec { group: group.clone(), service, desired: DesiredGroup::Gone })?;
        } else if seen.instances.is_empty() {
            upkeep.edit(&life.name, |life| life.leftovers.retain(|g| g != group))?;
        }
    }
    Ok(())
}

/// The keeper could not be reached, which says nothing of the image: the check's time starts when it is declared.
pub fn restart_clock(upkeep: &Upkeep, life: &Life, now: Time) -> Result<(), Fault> {
    upkeep.edit(&life.name, |life| {
        if let Some(Work::Test(test)) = &mut life.work {
            test.begun = now;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a reader: a check of a file in an image from scratch failed by words of the runtime.
    #[test]
    fn an_image_without_a_shell_is_told_what_its_check_needs() {
        let exit = |why: Option<&str>| Exit { not_started: why.map(str::to_string), ..Exit::new(127, Time(1)) };
        let said = failed(&exit(Some("the image has no file \"/bin/sh\"")), String::new());
        assert!(said.contains("no /bin/sh") && said.contains("`run`"), "{said}");
        assert_eq!(failed(&exit(Some("no memory")), String::new()), "not started: no memory");
        assert_eq!(failed(&exit(None), ", last output: x".to_string()), "exit 127, last output: x");
    }
}
