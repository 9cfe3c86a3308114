//! `volume "name" { ... }` of a service, and whether the service is exclusive.

use super::context::Context;
use super::labels::label_name;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::value::Value;
use model::{Validated, Volume, VolumeName, volume};
use std::ops::Range;

pub(crate) fn volumes(context: &Context, service: &mut Section, sink: &mut Sink) -> Option<Vec<Volume>> {
    let mut all = Vec::new();
    let mut places: Vec<(String, Range<usize>)> = Vec::new();
    for (label, block) in service.named("volume", sink) {
        let section = Section::of(context, &schema::VOLUME, block, sink);
        let name = label_name(context, label.clone(), block, sink, VolumeName::new);
        let path = |v: &Value, valid: fn(&str) -> Validated| -> Read<String> {
            let path = read::text(v, "a path in quotes, such as \"/srv/uploads\"")?;
            at(v, valid(&path).map(|()| path))
        };
        let source = section.need("source", sink, |v| path(v, volume::source));
        let place = section.need("at", sink, |v| path(v, volume::at));
        let read_only = section.or("read_only", false, sink, read::truth);
        if all.len() == volume::VOLUMES_MAX {
            let draft = Draft::new("out-of-range", label, format!("a service has at most {} volumes", volume::VOLUMES_MAX));
            sink.push(draft.label("one too many"));
            return None;
        }
        if let Some(place) = &place {
            let span = section.place("at");
            if let Some((other, first)) = places.iter().find(|(other, _)| volume::overlap(place, other)) {
                let said = format!("a volume at `{place}` and one at `{other}`: one hides the other, or lies in it");
                let draft = Draft::new("volumes-overlap", span.clone(), said).label("expected a place outside of other volumes");
                sink.push(draft.related(first.clone(), "the other volume"));
            }
            places.push((place.clone(), span));
        }
        all.push((|| Some(Volume { name: name?, source: source?, at: place?, read_only: read_only? }))());
    }
    all.into_iter().collect()
}

/// `count`: the service's, if it could be read.
pub(crate) fn exclusive(service: &Section, count: Option<u32>, sink: &mut Sink) -> Option<bool> {
    let exclusive = service.or("exclusive", false, sink, read::truth)?;
    if exclusive && count.is_some_and(|count| count > 1) {
        let draft = Draft::new("exclusive-count", service.place("count"), "an exclusive service has one server at most");
        let draft = draft.label("expected 1, or 0 to park it").related(service.place("exclusive"), "it is exclusive");
        sink.push(draft.hint("servers that can run beside each other need no `exclusive`; those that cannot are services of their own"));
        return None;
    }
    Some(exclusive)
}
