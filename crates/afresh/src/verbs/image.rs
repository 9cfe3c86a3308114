//! `image`: images made step by step, compared, signed, emitted, revoked. Most of it works in the image store of this machine.

use super::artifact::Pack;
use super::image_attest::{Attest, Verify};
use super::image_diff::Diff;
use super::image_emit::{Boot, Emit};
use super::image_key::SignerVerb;
use super::image_make::{Build, Fetch, Lock};
use super::image_policy::PolicyVerb;
use super::image_push::Push;
use super::lists::Images;
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::{self, upkeep::day};
use api::control::{ImageHistory, ImageRow, ImageStory, RebuildAnswer, RebuildRequest, RevokeAnswer, RevokeRequest};
use clap::{Args, Subcommand};
use lifecycle::{Change, State};
use model::{Digest, ImageName, ImageSpec, ServiceName, Time};
use serde_json::json;
use std::time::{Duration, Instant};

/// List, check, verify, emit or revoke images, or make them step by step
#[derive(Args, Debug)]
#[command(
    after_help = "list, rebuild, revoke and history call the control plane. The others work in the image store of this machine.\n\nExample:\n  afresh image list\n  afresh image history base\n  afresh image check base"
)]
pub struct ImageVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    List(Images),
    History(History),
    Check(Check),
    Rebuild(Rebuild),
    Revoke(Revoke),
    Diff(Diff),
    Lock(Lock),
    Fetch(Fetch),
    Build(Build),
    #[command(hide = true)]
    Pack(Pack),
    Emit(Box<Emit>),
    Boot(Boot),
    Push(Push),
    Attest(Attest),
    Verify(Verify),
    Policy(PolicyVerb),
    Signer(SignerVerb),
}

impl ImageVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::List(verb) => verb.run(context),
            What::Lock(verb) => verb.run(context),
            What::Fetch(verb) => verb.run(context),
            What::Build(verb) => verb.run(context),
            What::Pack(verb) => verb.run(context),
            What::Emit(verb) => verb.run(context),
            What::Boot(verb) => verb.run(context),
            What::Push(verb) => verb.run(context),
            What::Attest(verb) => verb.run(context),
            What::Verify(verb) => verb.run(context),
            What::Policy(verb) => verb.run(context),
            What::Signer(verb) => verb.run(context),
            What::Diff(verb) => verb.run(context),
            What::Check(verb) => verb.run(context),
            What::Rebuild(verb) => verb.run(context),
            What::Revoke(verb) => verb.run(context),
            What::History(verb) => verb.run(context),
        }
    }
}

/// Check the mirrors for packages newer than those of the current image
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is baked. Exits with 0 if nothing is newer, 3 if something is. Once a disk was emitted, its boot kit (kernel, boot tools) is \
                  checked too.\n\nExample:\n  sudo afresh image check base"
)]
pub struct Check {
    /// The image, as the service file names it
    pub image: ImageName,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let file = context.load()?;
        let spec: &ImageSpec = super::bake::recipe(&file, &self.image)?;
        let store = context.images()?;
        let began = Instant::now();
        let current = store.current(&self.image)?;
        let (news, behind) = bake::news_against(&store, spec, current.as_ref())?;
        let behind: Vec<Change> = behind?;
        let same = current.as_ref().and_then(|c| store.manifest(c).ok()).is_some_and(|m| m.inputs == news.inputs);
        let kit = if spec.oci.is_some() { None } else { emit::kit_state(&store, spec, &mut |_| {})? };
        let is_kit_newest = kit.as_ref().is_none_or(|kit| kit.behind.is_empty());
        let seconds = began.elapsed().as_secs_f64();
        if context.json {
            let kit = kit.map(
                |k| json!({ "lock": k.lock, "newest": is_kit_newest, "newest_lock": k.newest, "packages": k.packages, "behind": k.behind }),
            );
            show::json(&json!({
                "image": self.image, "current": current, "newest": same, "inputs": news.inputs, "behind": behind, "kit": kit, "seconds": seconds,
                "same_indexes": news.same_indexes, "traffic": news.traffic, "unknown": news.unknown,
            }));
            return Ok(if same && behind.is_empty() && is_kit_newest { Exit::Succeeded } else { Exit::NotYet });
        }
        if let Some(current) = current.filter(|_| same) {
            let what = match &spec.oci {
                Some(source) => format!("{} still leads to it", source.reference),
                None => format!("every one of its {} packages is the newest", news.packages.len()),
            };
            behind.iter().for_each(show::line);
            let patches = match &news.unknown {
                Some(why) => format!("; {why}"),
                None if behind.is_empty() && spec.oci.is_some() => "; every one of its packages is the newest".to_string(),
                None if behind.is_empty() => String::new(),
                None => format!("; {} newer: build and push it again", show::times(behind.len() as u64, "package")),
            };
            show::line(format!("{} {}: {what}{patches} ({seconds:.1} s)", self.image, current.short()));
        } else {
            behind.iter().for_each(show::line);
            let what = if behind.is_empty() {
                "its recipe differs".to_string()
            } else if spec.oci.is_some() {
                "its name leads to another image now".to_string()
            } else {
                show::times(behind.len() as u64, "package") + " newer, gone or added"
            };
            show::line(format!("{}: {what}; bake it with: afresh image rebuild {} ({seconds:.1} s)", self.image, self.image));
        }
        if let Some(kit) = kit {
            print_kit(&self.image, &kit);
        }
        Ok(if same && behind.is_empty() && is_kit_newest { Exit::Succeeded } else { Exit::NotYet })
    }
}

fn print_kit(image: &ImageName, kit: &emit::KitState) {
    let (short, count) = (kit.lock.short(), kit.packages);
    if kit.behind.is_empty() {
        show::line(format!("boot kit {short}: every one of its {count} packages is the newest"));
        return;
    }
    kit.behind.iter().for_each(show::line);
    let what = show::times(kit.behind.len() as u64, "package");
    show::line(format!("boot kit {short}: {what} newer, gone or added; lock it again with: afresh image lock {image} --kit"));
}

/// Check the mirrors now, and bake, test and roll out what is new
#[derive(Args, Debug)]
#[command(after_help = "It does not wait for the schedule of the recipe.\n\n\
                  --again tests an image again that is marked bad, and rolls it out again if its recipe is in force. It exits with 4 if the image is bad \
                  again.\n\nExample:\n  afresh image rebuild base\n  afresh image rebuild base --again --digest 3fa9c1d20b7e")]
pub struct Rebuild {
    /// The image
    pub image: ImageName,
    /// Retry an image that is marked bad, as after an environment error: the newest, or the one of --digest
    #[arg(long)]
    pub again: bool,
    /// Retry this one: its digest or at least six digits of it
    #[arg(long, requires = "again")]
    pub digest: Option<String>,
    /// Return at once
    #[arg(long)]
    pub no_follow: bool,
}

/// Longer than any bake with its checks and rollouts should be waited for in front of a terminal.
const FOLLOW_WITHIN: Duration = Duration::from_secs(3600);

impl Rebuild {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = format!("/v1/images/{}", self.image);
        let request = RebuildRequest { again: self.again, digest: self.digest };
        context.wait(async {
            let before: ImageHistory = context.api().get(&format!("{path}/history")).await?;
            let answer: RebuildAnswer = context.api().post(&format!("{path}/rebuild"), &request).await?;
            if self.no_follow {
                return Ok(Exit::Succeeded);
            }
            let (began, mut told) = (Instant::now(), String::new());
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let now: ImageHistory = context.api().get(&format!("{path}/history")).await?;
                let why = now.waits.as_ref().map_or(String::new(), |w| w.why.clone());
                if why != told && !context.json {
                    show::note(&why);
                }
                told = why;
                // A check of the mirrors that failed is tried again until an alarm says so.
                let failed = is_troubled(&now) && (answer.again.is_none() || now.settled);
                let done = now.settled && (!answer.checks || now.checked > before.checked);
                if done || failed || began.elapsed() > FOLLOW_WITHIN {
                    print(context, &now);
                    return Ok(exit_of(&now, &answer));
                }
            }
        })
    }
}

fn exit_of(now: &ImageHistory, answer: &RebuildAnswer) -> Exit {
    let is_bad = |digest: &Digest| now.images.iter().any(|one| one.digest == *digest && one.state == State::Bad.word());
    match &answer.again {
        Some(digest) if is_bad(digest) => Exit::Refused,
        _ if is_troubled(now) => Exit::Environment,
        _ => Exit::Succeeded,
    }
}

/// Whether there is an alarm that is not about a bad image which no service runs on: that one was there before, and may stay.
fn is_troubled(now: &ImageHistory) -> bool {
    let aside = |text: &String| {
        let bad = now.images.iter().filter(|one| one.state == State::Bad.word() && one.services.is_empty());
        bad.into_iter().any(|one| text.contains(one.digest.short()))
    };
    !now.alarms.iter().all(aside)
}

/// Revoke an image: block new deployments, raise an alarm where it runs
#[derive(Args, Debug)]
#[command(
    after_help = "It must be confirmed: at a terminal, or with --yes. Without a terminal and --yes it exits with 2.\n\nExample:\n  afresh image revoke 3fa9c1d20b7e --why \"a key was baked in\" --replace --yes"
)]
pub struct Revoke {
    /// Its digest or at least six digits of it
    pub digest: String,
    /// Record why, in its history and alarms
    #[arg(long)]
    pub why: String,
    /// Roll the services that run it out on the current image now
    #[arg(long)]
    pub replace: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

impl Revoke {
    /// What it concerns, before anything is changed.
    async fn preview(&self, context: &Context) -> Result<(), Failure> {
        let hex = self.digest.strip_prefix("sha256:").unwrap_or(&self.digest);
        let rows: Vec<ImageRow> = context.api().get("/v1/images").await?;
        for row in rows.iter().filter(|row| hex.len() >= 6 && row.digest.hex().starts_with(hex) && !context.json) {
            let used =
                if row.releases.is_empty() { "no release uses it".to_string() } else { format!("used by {}", row.releases.join(", ")) };
            let servers = show::times(u64::from(row.instances), "server");
            show::line(format!("image {} {}: {used}; {servers} on it now", row.name, row.digest.short()));
        }
        Ok(())
    }

    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(self.preview(context))?;
        if !confirmed(self.yes, "revoke it")? {
            show::note("nothing was changed");
            return Ok(Exit::Refused);
        }
        let request = RevokeRequest { digest: self.digest.clone(), why: self.why.clone(), replace: self.replace };
        let answer: RevokeAnswer = context.wait(async { Ok(context.api().post("/v1/images/revoke", &request).await?) })?;
        if context.json {
            show::json(&answer);
            return Ok(Exit::Succeeded);
        }
        let servers = |s: &ServiceName| {
            answer.instances.get(s).map_or_else(|| s.to_string(), |n| format!("{s} ({})", show::times(u64::from(*n), "server")))
        };
        let names: Vec<String> = answer.services.iter().map(servers).collect();
        show::line(format!("{} {} is revoked: no new group of servers starts on it", answer.image, answer.digest.short()));
        for id in &answer.under_way {
            let does = if self.replace { "rolls back" } else { "continues; `afresh rotation abort` rolls it back" };
            show::line(format!("{id} was deploying it to {} and {does}", id.service()));
        }
        match (names.is_empty(), &answer.current, answer.replaced) {
            (true, ..) => show::line("no service runs it"),
            (false, None, _) => show::line(format!("{} run it, and there is no other image to replace it with", names.join(", "))),
            (false, Some(current), true) => {
                show::line(format!("{} run it and are being rolled out on {}", names.join(", "), current.short()))
            }
            (false, Some(current), false) => {
                show::line(format!("{} run it; --replace rolls them out on {}", names.join(", "), current.short()));
            }
        }
        Ok(Exit::Succeeded)
    }
}

/// Show every image of a recipe and why it is in its state
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh image history base")]
pub struct History {
    /// The image
    pub image: ImageName,
}

impl History {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = format!("/v1/images/{}/history", self.image);
        let history: ImageHistory = context.wait(async { Ok(context.api().get(&path).await?) })?;
        print(context, &history);
        Ok(Exit::Succeeded)
    }
}

fn print(context: &Context, history: &ImageHistory) {
    if context.json {
        show::json(history);
        return;
    }
    for one in &history.images {
        print_one(one, history.now);
    }
    match (history.checked, history.newest) {
        (Some(at), Some(true)) => show::line(format!("every package is the newest as of {}", when(at, history.now))),
        (Some(at), _) if history.tag_moved => {
            show::line(format!("its name leads to another image as of {}: {}", when(at, history.now), history.behind.join(", ")));
        }
        (Some(at), _) if history.behind.is_empty() => show::line(format!("not known to hold the newest as of {}", when(at, history.now))),
        (Some(at), _) => {
            show::line(format!("{} not the newest as of {}:", show::times(history.behind.len() as u64, "package"), when(at, history.now)));
            history.behind.iter().for_each(|b| show::line(format!("  {b}")));
        }
        (None, _) if history.reference.is_some() => show::line("its name was not checked yet"),
        (None, _) => show::line("the mirrors were not checked yet"),
    }
    if let Some(waits) = &history.waits {
        let until = waits.until.map_or(String::new(), |u| format!(", until {}", day(u)));
        show::line(format!("now: {}{until}", waits.why));
    }
    history.alarms.iter().for_each(|a| show::line(format!("alarm: {a}")));
}

fn print_one(one: &ImageStory, now: Time) {
    let names: Vec<&str> = one.services.iter().map(ServiceName::as_str).collect();
    let users = if names.is_empty() { String::new() } else { format!(", used by {}", names.join(", ")) };
    show::line(format!("{} {}{users}", one.digest.short(), one.state));
    for (at, text) in &one.story {
        show::line(format!("  {}  {text}", when(*at, now)));
    }
}

/// `2026-11-22 04:10 UTC (3 h 2 min ago)`
fn when(at: Time, now: Time) -> String {
    format!("{} ({})", day(at), show::ago(at, now))
}
