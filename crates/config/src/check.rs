//! A service file that came as values and not as text: held to the reader's own rules, by writing it as HCL and reading that.
//! There is no second list of rules that could differ from the reader's. The JSON form and the API both go through here.

use crate::places::Places;
use crate::sink::{Draft, Sink};
use crate::{decode, write};
use model::{Drain, Health, LeftToImage, ServiceFile, ServiceSpec, ValidationError};
use std::ops::Range;

/// Keys from the root of `model::ServiceFile`.
pub(crate) type Path = Vec<String>;

/// What is wrong, and where in the values; the draft's own places mean nothing.
pub(crate) struct Problem {
    pub path: Path,
    pub draft: Draft,
    pub related: Vec<(Path, String)>,
}

/// The file as its reader would give it (names in their one form, packages sorted), or the first thing that is wrong with it.
///
/// Whatever this takes, [`crate::write`] writes as a file that [`crate::parse`] reads as the same; whatever the reader refuses, this refuses.
pub fn checked(file: &ServiceFile) -> Result<ServiceFile, ValidationError> {
    let (problems, checked) = problems(file);
    let more = problems.len().saturating_sub(1);
    match (problems.into_iter().next(), checked) {
        (None, Some(file)) => Ok(file),
        (Some(Problem { path, draft, .. }), _) => {
            let place = if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) };
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            let expected = if draft.label.is_empty() { "expected what a service file may say".to_string() } else { draft.label };
            Err(ValidationError { code: draft.code, message: format!("{place}{}{more}", draft.message), expected, hint: draft.hint })
        }
        (None, None) => Err(ValidationError::new("unread", "the file was not understood", "expected a service file")),
    }
}

pub(crate) fn problems(file: &ServiceFile) -> (Vec<Problem>, Option<ServiceFile>) {
    let mut all = Vec::new();
    names(file, &mut all);
    bases(file, &mut all);
    left(file, &mut all);
    let written = write::written(file);
    let hcl = written.text();
    let places = Places::new(&hcl);
    let mut told = Sink::new(&hcl, "");
    let checked = decode::decode(&hcl, &mut told);
    let at = |span: &Range<usize>| written.path(places.of(span.start).0).to_vec();
    for draft in told.into_drafts() {
        let related = draft.related.iter().map(|(span, label)| (at(span), label.clone())).collect();
        all.push(Problem { path: at(&draft.span), draft, related });
    }
    (all, checked)
}

fn problem(path: &[&str], code: &'static str, message: String, label: &str) -> Problem {
    let path = path.iter().map(|part| (*part).to_string()).collect();
    Problem { path, draft: Draft::new(code, 0..0, message).label(label), related: Vec::new() }
}

/// A setting that is left to the image has no value of its own. A file cannot say both; what names its values one by one can.
fn left(file: &ServiceFile, all: &mut Vec<Problem>) {
    for (name, service) in &file.services {
        for one in &service.from_image {
            let is_said = match one {
                LeftToImage::Run => !service.run.is_empty(),
                LeftToImage::User => service.user != ServiceSpec::default_user(),
                LeftToImage::Port => service.port.is_some(),
                LeftToImage::Signal => service.drain.signal != Drain::default().signal,
                LeftToImage::Health => service.health != Health::default(),
            };
            if is_said {
                let path: Vec<&str> = ["services", name.as_str()].into_iter().chain(one.key().split('.')).collect();
                let message = format!("`{}` has a value, and `from_image` leaves it to the image", one.key());
                all.push(problem(&path, "left-to-image", message, "expected one of both"));
            }
        }
    }
}

/// A name stands twice: as the key and within.
fn names(file: &ServiceFile, all: &mut Vec<Problem>) {
    let images = file.images.iter().map(|(key, image)| ("images", key.as_str(), image.name.as_str()));
    let services = file.services.iter().map(|(key, service)| ("services", key.as_str(), service.name.as_str()));
    let secrets = file.secrets.iter().map(|(key, secret)| ("secrets", key.as_str(), secret.name.as_str()));
    for (part, key, name) in images.chain(services).chain(secrets) {
        if key != name {
            all.push(problem(&[part, key, "name"], "bad-name", format!("`{name}` stands under the key `{key}`"), "expected the same name"));
        }
    }
}

/// A base stands twice too: as an image of its own, and whole within what is built on it. One of no such name is reported by the rules.
fn bases(file: &ServiceFile, all: &mut Vec<Problem>) {
    for (name, image) in &file.images {
        let Some(base) = image.base.as_deref() else { continue };
        let mut differs =
            |key: &str, text: String| all.push(problem(&["images", name.as_str(), key], "base-differs", text, "expected the same"));
        if file.images.get(&base.name).is_some_and(|other| other != base) {
            differs("base", format!("the image `{}` stands elsewhere in this file with another recipe", base.name));
        }
        if image.archive() != base.archive() {
            differs("debian", format!("its suites are not those of its base `{}`", base.name));
        }
    }
}
