//! `moved { from = service.web  to = service.shop }`: a service that was called otherwise. Each name is moved from once and to once, and
//! where a chain of moves ends, the file has a service.

use super::context::Context;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::syntax::value::{Value, What};
use crate::units::ValidationError;
use model::{Moved, ServiceName, near};
use std::ops::Range;

const MOVES_MAX: usize = 100;

struct OneMove {
    moved: Moved,
    from: Range<usize>,
    to: Range<usize>,
}

pub(crate) fn decode(context: &Context, blocks: &[&Block], sink: &mut Sink) -> Vec<Moved> {
    if let Some(block) = blocks.get(MOVES_MAX) {
        let draft = Draft::new("out-of-range", block.head(context.text), format!("there are {} moves", blocks.len()));
        sink.push(draft.label(format!("expected at most {MOVES_MAX}")).hint("delete blocks that every machine has seen"));
        return Vec::new();
    }
    let all: Vec<OneMove> = blocks.iter().filter_map(|block| one(context, block, sink)).collect();
    for (i, this) in all.iter().enumerate() {
        judge(context, this, &all, &all[..i], sink);
    }
    let mut moves: Vec<Moved> = all.into_iter().map(|one| one.moved).collect();
    moves.sort();
    moves
}

fn one(context: &Context, block: &Block, sink: &mut Sink) -> Option<OneMove> {
    let section = Section::of(context, &schema::MOVED, block, sink);
    let from = section.need("from", sink, |v| Ok((service(v)?, v.span.clone())));
    let to = section.need("to", sink, |v| Ok((service(v)?, v.span.clone())));
    let ((from, from_span), (to, to_span)) = (from?, to?);
    Some(OneMove { moved: Moved { from, to }, from: from_span, to: to_span })
}

fn service(value: &Value) -> Read<ServiceName> {
    let wrong = |said: String| ValidationError::new("wrong-type", said, "expected a service, such as service.web");
    let name = match &value.what {
        What::Reference(root, name) if root == "service" => name.as_str(),
        What::Text(text) => match text.strip_prefix("service.") {
            Some(name) => name,
            None => {
                return at(
                    value,
                    Err(wrong("a service is named with its word before it".to_string()).hint(format!("write service.{text}"))),
                );
            }
        },
        What::Reference(root, name) => return at(value, Err(wrong(format!("`{root}.{name}` is no service")))),
        other => return at(value, Err(wrong(format!("this is {}", other.name())))),
    };
    at(value, read::name(name, ServiceName::new))
}

/// `before`: those of `all` that stand before it.
fn judge(context: &Context, this: &OneMove, all: &[OneMove], before: &[OneMove], sink: &mut Sink) {
    let Moved { from, to } = &this.moved;
    if from == to {
        let draft = Draft::new("moved-to-itself", this.to.clone(), format!("`{to}` is moved to itself"));
        sink.push(draft.label("the same service").hint("write its new name behind `to`, or delete the block"));
        return;
    }
    if let Some(label) = context.services.get(from.as_str()) {
        let draft = Draft::new("moved-but-there", this.from.clone(), format!("`{from}` is moved to `{to}`, and the file still has it"));
        let draft = draft.label("expected the name that it had").related(label.clone(), "it stands here");
        sink.push(draft.hint(format!("rename the block `service \"{from}\"` to \"{to}\"; if it is another service, give it another name")));
    }
    let twice = |what: &str, name: &ServiceName, place: &Range<usize>, first: &Range<usize>| {
        let draft = Draft::new("moved-twice", place.clone(), format!("`{name}` is moved {what} twice"));
        draft.label("the second time").related(first.clone(), "the first time").hint("a service has one name: keep one of the blocks")
    };
    if let Some(first) = before.iter().find(|other| other.moved.from == *from) {
        sink.push(twice("from", from, &this.from, &first.from));
    }
    if let Some(first) = before.iter().find(|other| other.moved.to == *to) {
        sink.push(twice("to", to, &this.to, &first.to));
    }
    let goes_on = |name: &ServiceName| all.iter().find(|other| other.moved.from == *name);
    if goes_on(to).is_some() {
        if is_circle(this, all) {
            let draft = Draft::new("moved-in-a-circle", this.to.clone(), format!("the moves lead from `{from}` back to it"));
            sink.push(draft.label("expected a service that stays").hint("delete the block that was added last"));
        }
        return;
    }
    if !context.services.contains_key(to.as_str()) {
        let names = context.services.keys().map(String::as_str);
        let hint = match near::nearest(to.as_str(), names) {
            Some(near) => format!("did you mean service.{near}?"),
            None => format!("rename the block `service \"{from}\"` to \"{to}\", or delete this block if the service is gone"),
        };
        let draft = Draft::new("moved-to-nothing", this.to.clone(), format!("there is no service `{to}` in this file"));
        sink.push(draft.label("expected a service of this file").hint(hint));
    }
}

fn is_circle(this: &OneMove, all: &[OneMove]) -> bool {
    let mut at = &this.moved.to;
    for _ in all {
        match all.iter().find(|other| other.moved.from == *at) {
            Some(next) if next.moved.to == this.moved.from || next.moved.from == this.moved.from => return true,
            Some(next) => at = &next.moved.to,
            None => return false,
        }
    }
    // A circle that it only leads into: reported at those that are in it.
    false
}
