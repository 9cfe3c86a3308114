//! How far work on images is: on stderr, and in seconds by step.

use crate::context::Context;
use crate::processes::interrupt;
use crate::show;
use bake::Progress;
use console::Term;
use model::{Fault, ImageName};
use std::collections::BTreeMap;
use std::time::Instant;

/// Runs one piece of work with its progress on stderr, and says how many seconds it took, by step.
pub fn with_progress<T>(
    context: &Context,
    image: &ImageName,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, Fault>,
) -> Result<(T, BTreeMap<String, f64>), Fault> {
    let _interruptible = interrupt::interruptible("the work");
    let mut bar = Bar::new(image.clone(), context.json);
    let (mut seconds, mut open) = (BTreeMap::new(), None::<(String, Instant)>);
    let mut close = |open: &mut Option<(String, Instant)>| {
        if let Some((step, since)) = open.take() {
            *seconds.entry(step).or_insert(0.0) += rounded(since.elapsed().as_secs_f64());
        }
    };
    let done = work(&mut |progress| {
        if open.as_ref().is_none_or(|(step, _)| *step != progress.step) {
            close(&mut open);
            open = Some((progress.step.clone(), Instant::now()));
        }
        bar.tell(&progress);
    });
    close(&mut open);
    bar.clear();
    done.map(|value| (value, seconds))
}

pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

pub fn total(seconds: &BTreeMap<String, f64>) -> f64 {
    seconds.values().sum()
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
                let _ = term.clear_line().and_then(|()| term.write_str(&console::truncate_str(&show::safe_line(&text), width, "…")));
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
