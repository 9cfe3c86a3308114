//! `image`: the life of images. What differs, what is new, why each is what it is; bake one now, take one back.

use super::image_attest::{Attest, Verify};
use super::image_diff::Diff;
use super::image_emit::{Boot, Emit};
use super::image_key::SignerVerb;
use super::image_make::{Build, Fetch, Lock, Pack};
use super::image_policy::PolicyVerb;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::{self, upkeep::day};
use api::control::{ImageHistory, ImageStory, RebuildRequest, RevokeAnswer, RevokeRequest};
use clap::{Args, Subcommand};
use lifecycle::Change;
use model::{Fault, ImageName, ImageSpec, ServiceName, Time};
use serde_json::json;
use std::time::{Duration, Instant};

/// Make images step by step, look into them, prove them, give them to other worlds, revoke them
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh image history base\n  afresh image check base")]
pub struct ImageVerb {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    Lock(Lock),
    Fetch(Fetch),
    Build(Build),
    Pack(Pack),
    Emit(Box<Emit>),
    Boot(Boot),
    Attest(Attest),
    Verify(Verify),
    Policy(PolicyVerb),
    Signer(SignerVerb),
    Diff(Diff),
    Check(Check),
    Rebuild(Rebuild),
    Revoke(Revoke),
    History(History),
}

impl ImageVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Lock(verb) => verb.run(context),
            What::Fetch(verb) => verb.run(context),
            What::Build(verb) => verb.run(context),
            What::Pack(verb) => verb.run(context),
            What::Emit(verb) => verb.run(context),
            What::Boot(verb) => verb.run(context),
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

/// Ask the mirrors whether anything is newer than in the current image, and in the kit its disks boot with; nothing is baked
#[derive(Args, Debug)]
#[command(
    after_help = "Exits with 0 if nothing is newer, with 3 if something is. The kit (kernel, boot tools) is looked at once a disk was emitted.\n\nExample:\n  sudo afresh image check base"
)]
pub struct Check {
    /// As the service file names it
    pub image: ImageName,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let file = context.load()?;
        let spec: &ImageSpec = super::bake::recipe(&file, &self.image)?;
        let store = context.images()?;
        let began = Instant::now();
        let current = store.current(&self.image)?;
        let news = bake::news(&store, spec)?;
        let behind: Vec<Change> = bake::news_since(&store, current.as_ref(), &news)?;
        let same = current.as_ref().and_then(|c| store.manifest(c).ok()).is_some_and(|m| m.inputs == news.inputs);
        let kit = emit::kit_state(&store, spec, &mut |_| {})?;
        let is_kit_newest = kit.as_ref().is_none_or(|kit| kit.behind.is_empty());
        let seconds = began.elapsed().as_secs_f64();
        if context.json {
            let kit = kit.map(
                |k| json!({ "lock": k.lock, "newest": is_kit_newest, "newest_lock": k.newest, "packages": k.packages, "behind": k.behind }),
            );
            show::json(&json!({
                "image": self.image, "current": current, "newest": same, "inputs": news.inputs, "behind": behind, "kit": kit, "seconds": seconds,
                "same_indexes": news.same_indexes, "traffic": news.traffic,
            }));
            return Ok(if same && is_kit_newest { Exit::Succeeded } else { Exit::NotYet });
        }
        if let Some(current) = current.filter(|_| same) {
            show::line(format!(
                "{} {}: every one of its {} packages is the newest ({seconds:.1} s)",
                self.image,
                current.short(),
                news.packages.len()
            ));
        } else {
            behind.iter().for_each(show::line);
            let what = if behind.is_empty() {
                "its recipe differs".to_string()
            } else {
                show::times(behind.len() as u64, "package") + " newer, gone or come in"
            };
            show::line(format!("{}: {what}; bake it with: afresh image rebuild {} ({seconds:.1} s)", self.image, self.image));
        }
        if let Some(kit) = kit {
            tell_kit(&self.image, &kit);
        }
        Ok(if same && is_kit_newest { Exit::Succeeded } else { Exit::NotYet })
    }
}

fn tell_kit(image: &ImageName, kit: &emit::KitState) {
    let (short, count) = (kit.lock.short(), kit.packages);
    if kit.behind.is_empty() {
        show::line(format!("kit {short} of its disks: every one of its {count} packages is the newest"));
        return;
    }
    kit.behind.iter().for_each(show::line);
    let what = show::times(kit.behind.len() as u64, "package");
    show::line(format!("kit {short} of its disks: {what} newer, gone or come in; lock it anew with: afresh image lock {image} --kit"));
}

/// Look at the mirrors now, and bake, test and roll out what is new, whatever the schedule says
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh image rebuild base")]
pub struct Rebuild {
    pub image: ImageName,
    /// Also try the newest one again that is marked bad, as after a fault that was not its own
    #[arg(long)]
    pub again: bool,
    /// Return at once
    #[arg(long)]
    pub no_follow: bool,
}

/// Longer than any bake with its checks and rollouts should be waited for in front of a terminal.
const FOLLOW_WITHIN: Duration = Duration::from_secs(3600);

impl Rebuild {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = format!("/v1/images/{}", self.image);
        context.wait(async {
            let before: ImageHistory = context.api().get(&format!("{path}/history")).await?;
            let _: serde_json::Value = context.api().post(&format!("{path}/rebuild"), &RebuildRequest { again: self.again }).await?;
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
                let looked = now.checked > before.checked && now.waits.as_ref().is_some_and(|w| w.until.is_some());
                if looked || began.elapsed() > FOLLOW_WITHIN || !now.alarms.is_empty() {
                    tell(context, &now);
                    return Ok(if now.alarms.is_empty() { Exit::Succeeded } else { Exit::World });
                }
            }
        })
    }
}

/// Take an image back: it is deployed no more, and is told where it runs
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh image revoke 3fa9c1d20b7e --why \"a key was baked in\" --replace")]
pub struct Revoke {
    /// Its first digits, six at least
    pub digest: String,
    /// For its history
    #[arg(long)]
    pub why: String,
    /// Turn the services that stand on it to the current image now
    #[arg(long)]
    pub replace: bool,
}

impl Revoke {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
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
        show::line(format!("{} {} is revoked: no new group of servers begins on it", answer.image, answer.digest.short()));
        for id in &answer.under_way {
            let does = if self.replace { "is asked to return" } else { "goes on; `afresh rotation return` takes it back" };
            show::line(format!("{id} was bringing it to {} and {does}", id.service()));
        }
        match (names.is_empty(), &answer.current, answer.replaced) {
            (true, ..) => show::line("no service stands on it"),
            (false, None, _) => show::line(format!("{} stand on it, and there is no other image to turn to", names.join(", "))),
            (false, Some(current), true) => {
                show::line(format!("{} stand on it and are being turned to {}", names.join(", "), current.short()))
            }
            (false, Some(current), false) => {
                show::line(format!("{} stand on it; --replace turns them to {}", names.join(", "), current.short()));
            }
        }
        Ok(Exit::Succeeded)
    }
}

/// Tell every image of a recipe and why each became what it is
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh image history base")]
pub struct History {
    pub image: ImageName,
}

impl History {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let path = format!("/v1/images/{}/history", self.image);
        let history: ImageHistory = context.wait(async { Ok(context.api().get(&path).await?) })?;
        tell(context, &history);
        Ok(Exit::Succeeded)
    }
}

fn tell(context: &Context, history: &ImageHistory) {
    if context.json {
        show::json(history);
        return;
    }
    for one in &history.images {
        tell_one(one, history.now);
    }
    match (history.checked, history.newest) {
        (Some(at), Some(true)) => show::line(format!("every package is the newest, as of {}", when(at, history.now))),
        (Some(at), _) => {
            show::line(format!("{} not the newest, as of {}:", show::times(history.behind.len() as u64, "package"), when(at, history.now)));
            history.behind.iter().for_each(|b| show::line(format!("  {b}")));
        }
        (None, _) => show::line("the mirrors were not asked yet"),
    }
    if let Some(waits) = &history.waits {
        let until = waits.until.map_or(String::new(), |u| format!(", until {}", day(u)));
        show::line(format!("now: {}{until}", waits.why));
    }
    history.alarms.iter().for_each(|a| show::line(format!("alarm: {a}")));
}

fn tell_one(one: &ImageStory, now: Time) {
    let names: Vec<&str> = one.services.iter().map(ServiceName::as_str).collect();
    let users = if names.is_empty() { String::new() } else { format!(", under {}", names.join(", ")) };
    show::line(format!("{} {}{users}", one.digest.short(), one.state));
    for (at, text) in &one.story {
        show::line(format!("  {}  {text}", when(*at, now)));
    }
}

/// `2026-11-22 04:10 UTC (3 h 2 min ago)`
fn when(at: Time, now: Time) -> String {
    format!("{} ({})", day(at), show::ago(at, now))
}

/// The one image an argument means: a name (its current image) or the first digits of a digest.
pub fn named(store: &store::Store, text: &str) -> Result<store::Manifest, Fault> {
    find(store, text, |kind| kind == store::Kind::Image)
}

/// As [`named`], artifacts too.
pub fn named_object(store: &store::Store, text: &str) -> Result<store::Manifest, Fault> {
    find(store, text, |kind| kind != store::Kind::Base)
}

fn find(store: &store::Store, text: &str, fits: impl Fn(store::Kind) -> bool) -> Result<store::Manifest, Fault> {
    if let Ok(name) = ImageName::new(text)
        && let Some(digest) = store.current(&name)?
    {
        return store.manifest(&digest);
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let (all, _) = store.list()?;
    let mut fit = all.into_iter().filter(|m| hex.len() >= 6 && fits(m.kind) && m.digest.hex().starts_with(hex));
    match (fit.next(), fit.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Fault::yours("no-such-image", format!("no image is called {text} or has a digest that begins so"))
            .hint("`afresh images` lists them; six digits are enough")),
        _ => Err(Fault::yours("no-such-image", format!("several images have a digest that begins with {hex}")).hint("give more digits")),
    }
}
