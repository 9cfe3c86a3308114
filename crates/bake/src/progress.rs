//! How far a piece of work is. The caller shows it; nothing here prints.

use std::time::Instant;

/// One sentence on what goes on. `total` 0: nobody knows how much there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: String,
    pub done: u64,
    pub total: u64,
    pub text: String,
}

impl Progress {
    pub fn percent(&self) -> Option<u8> {
        (self.total > 0).then(|| u8::try_from(self.done.min(self.total) * 100 / self.total).unwrap_or(100))
    }
}

/// Tells the caller, and remembers how long each step took.
pub struct Steps<'a> {
    tell: &'a mut dyn FnMut(Progress),
    seconds: Vec<(String, f64)>,
    open: Option<(String, Instant)>,
}

impl<'a> Steps<'a> {
    pub fn new(tell: &'a mut dyn FnMut(Progress)) -> Self {
        Self { tell, seconds: Vec::new(), open: None }
    }

    pub fn begin(&mut self, step: &str, text: impl Into<String>) {
        self.end();
        self.open = Some((step.to_string(), Instant::now()));
        self.at(0, 0, text);
    }

    pub fn at(&mut self, done: u64, total: u64, text: impl Into<String>) {
        let step = self.open.as_ref().map_or(String::new(), |(s, _)| s.clone());
        (self.tell)(Progress { step, done, total, text: text.into() });
    }

    pub fn is_at(&self, step: &str) -> bool {
        self.open.as_ref().is_some_and(|(open, _)| open == step)
    }

    pub fn end(&mut self) {
        if let Some((step, since)) = self.open.take() {
            let took = (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
            self.seconds.push((step, took));
        }
    }

    pub fn so_far(&self) -> Vec<(String, f64)> {
        self.seconds.clone()
    }

    pub fn finish(mut self) -> Vec<(String, f64)> {
        self.end();
        self.seconds
    }
}
