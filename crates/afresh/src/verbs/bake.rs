//! `bake`: machine images from their recipes, with progress.

use super::build_args::BuildArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use crate::verbs::image_make::rounded;
use clap::Args;
use console::Term;
use image::{Baked, Did, Progress};
use model::{Digest, Fault, ImageName, ImageSpec, ServiceFile};
use serde_json::json;
use std::collections::BTreeMap;

/// Bake machine images; a second bake of the same inputs does no work and says so
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh bake base")]
pub struct Bake {
    /// Only this image; otherwise every image of the file
    pub image: Option<ImageName>,
    /// Bake also when nothing is new, and from nothing: kept bases are not used
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    pub args: BuildArgs,
}

impl Bake {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut file = context.load()?;
        if let Some(name) = &self.image {
            recipe(&file, name)?;
        }
        self.args.apply(&mut file, |name| self.image.as_ref().is_none_or(|only| only == name))?;
        let specs: Vec<&ImageSpec> = match &self.image {
            Some(name) => vec![recipe(&file, name)?],
            None => file.images.values().collect(),
        };
        let store = image::Store::open(&context.layout)?;
        for spec in specs {
            let baked = bake(&store, spec, self.fresh, context.json)?;
            if context.json {
                let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
                for (step, s) in &baked.steps {
                    // Some are taken more than once: a tree is scrubbed after each stage, and one with a script is made twice.
                    let sum = seconds.entry(step.as_str()).or_insert(0.0);
                    *sum = rounded(*sum + s);
                }
                show::json(&json!({
                    "image": baked.image, "digest": baked.digest, "packages": baked.packages.len(), "did": baked.did,
                    "why": baked.why, "bytes": baked.bytes, "notes": baked.notes, "seconds": seconds, "base": baked.base,
                }));
            }
        }
        Ok(Exit::Succeeded)
    }
}

pub fn recipe<'a>(file: &'a ServiceFile, name: &ImageName) -> Result<&'a ImageSpec, Fault> {
    file.images.get(name).ok_or_else(|| {
        let names: Vec<&str> = file.images.keys().map(ImageName::as_str).collect();
        Fault::yours("no-such-image", format!("the file has no image {name}")).hint(format!("it has: {}", names.join(", ")))
    })
}

fn on_base(baked: &Baked) -> String {
    match &baked.base {
        Some(base) if base.from == image::From::Store => format!("; it began with {} from the store", base.name),
        Some(base) => format!("; {} is kept for the next", base.name),
        None => String::new(),
    }
}

/// Bakes one, showing how far it is unless a machine reads.
pub fn bake(store: &image::Store, spec: &ImageSpec, fresh: bool, quiet: bool) -> Result<Baked, Fault> {
    let mut bar = Bar::new(spec.name.clone(), quiet);
    let mut tell = |progress: Progress| bar.tell(&progress);
    let baked = if fresh { image::bake_fresh(store, spec, &mut tell) } else { image::bake(store, spec, &mut tell) };
    bar.clear();
    let baked = baked?;
    if !quiet {
        let seconds: f64 = baked.steps.iter().map(|(_, s)| s).sum();
        let did = match baked.did {
            Did::Nothing => format!("nothing to do: {}", baked.why),
            Did::Baked => format!("baked, {}: {}{}", show::times(baked.packages.len() as u64, "package"), baked.why, on_base(&baked)),
        };
        show::line(format!("image {} {} {} {did} ({seconds:.1} s)", spec.name, baked.digest.short(), show::bytes(baked.bytes)));
        baked.notes.iter().for_each(|note| show::line(format!("  note: {note}")));
    }
    Ok(baked)
}

/// The current image of each recipe that is used; where there is none, or the recipe has changed since, one is baked first.
pub fn currents(
    context: &Context,
    store: &image::Store,
    file: &ServiceFile,
    used: &[ImageName],
) -> Result<BTreeMap<ImageName, Digest>, Fault> {
    let mut images = BTreeMap::new();
    for name in used {
        let recipe = recipe(file, name)?;
        let digest = match image::current(store, name)?.filter(|current| image::is_of(store, current, recipe)) {
            Some(digest) => digest,
            None => bake(store, recipe, false, context.json)?.digest,
        };
        images.insert(name.clone(), digest);
    }
    Ok(images)
}

/// One line that is written over on a terminal; elsewhere each step once.
pub struct Bar {
    image: ImageName,
    quiet: bool,
    term: Option<Term>,
    step: String,
}

impl Bar {
    pub fn new(image: ImageName, quiet: bool) -> Self {
        let term = Term::stderr();
        let term = (!quiet && term.is_term()).then_some(term);
        Self { image, quiet, term, step: String::new() }
    }

    pub fn tell(&mut self, progress: &Progress) {
        let share = progress.percent().map_or_else(String::new, |p| format!(" {p}%"));
        let text = format!("image {}: {}{share} {}", self.image, progress.step, progress.text);
        match &self.term {
            Some(term) => {
                let width = usize::from(term.size().1).saturating_sub(1);
                let _ = term.clear_line().and_then(|()| term.write_str(&console::truncate_str(&text, width, "…")));
            }
            None if !self.quiet && self.step != progress.step => show::note(text),
            None => {}
        }
        self.step.clone_from(&progress.step);
    }

    pub fn clear(&self) {
        if let Some(term) = &self.term {
            let _ = term.clear_line();
        }
    }
}
