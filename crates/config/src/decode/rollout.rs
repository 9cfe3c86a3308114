//! `rollout` of a service (waves and gates) and of the file (the order of tiers).

use super::context::Context;
use super::read::{self, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::units::{self, ValidationError};
use model::{Rollout, TierName, Wave};
use std::ops::Range;

const WAVES_MAX: usize = 20;
const TIERS_MAX: usize = 50;
const FREEZE_MAX: usize = 50;

pub(crate) fn rollout(context: &Context, service: &Section, count: Option<u32>, sink: &mut Sink) -> Option<Rollout> {
    let default = Rollout::default();
    let Some(block) = service.block("rollout") else { return Some(default) };
    let section = Section::of(context, &schema::WAVES, block, sink);
    let waves = section
        .or("waves", Vec::new(), sink, |v| {
            read::list(v, "a list of waves, such as [\"1\", \"50%\", \"100%\"]", WAVES_MAX, |item| {
                Ok((read::unit(item, "a wave in quotes, such as \"1\" (servers) or \"50%\" (of them)", units::wave)?, item.span.clone()))
            })
        })
        .and_then(|waves| if section.has("waves") { growing(&waves, count, section.place("waves"), sink) } else { Some(default.waves) });
    let soak_ms = section.or("soak", default.soak_ms, sink, |v| read::duration(v, "0s", "7d"));
    let errors_ppm =
        section.or("errors", default.errors_ppm, sink, |v| read::unit(v, "a percentage in quotes, such as \"1%\"", units::percent));
    let min_requests = section.or("min_requests", default.min_requests, sink, |v| read::number(v, 0, 1_000_000_000));
    let few_requests =
        section.or("few_requests", default.few_requests, sink, |v| at(v, units::few_requests(&read::text(v, "\"go-on\" or \"wait\"")?)));
    let within_ms = section.or("within", default.within_ms, sink, |v| read::duration(v, "1s", "7d"));
    let freeze = section.or("freeze", default.freeze, sink, |v| {
        read::list(v, "a list of times, such as [\"Fri 18:00-Mon 06:00\"]", FREEZE_MAX, |item| {
            at(item, units::hours_of_week(&read::text(item, "times of the week in quotes, such as \"Fri 18:00-Mon 06:00\"")?))
        })
    });
    Some(Rollout {
        waves: waves?,
        soak_ms: soak_ms?,
        errors_ppm: errors_ppm?,
        within_ms: within_ms?,
        min_requests: min_requests?,
        few_requests: few_requests?,
        freeze: freeze?,
    })
}

/// Waves of one kind must grow; of two kinds they are compared in servers and must not shrink, since with few servers
/// "1" and "50%" may be the same. The last is the whole.
fn growing(waves: &[(Wave, Range<usize>)], count: Option<u32>, place: Range<usize>, sink: &mut Sink) -> Option<Vec<Wave>> {
    let Some((last, last_span)) = waves.last() else {
        sink.push(Draft::new("bad-wave", place, "this list is empty").label("expected at least the whole").hint("write [\"100%\"]"));
        return None;
    };
    let mut good = true;
    for pair in waves.windows(2) {
        let ((before, before_span), (this, span)) = (&pair[0], &pair[1]);
        if !grows(*before, *this, count) {
            let draft = Draft::new("waves-shrink", span.clone(), "this wave is not larger than the one before");
            sink.push(draft.label("expected more").related(before_span.clone(), "the one before"));
            good = false;
        }
    }
    let count = count?;
    // Waves in servers are for the day on which there are some: nothing is rolled out to nobody.
    if count == 0 {
        return good.then(|| waves.iter().map(|(wave, _)| *wave).collect());
    }
    for (wave, span) in waves {
        if matches!(wave, Wave::Count(n) if *n > count) {
            sink.push(
                Draft::new("out-of-range", span.clone(), "this wave is more than the whole")
                    .label(format!("the service has a count of {count}")),
            );
            good = false;
        }
    }
    if good && !matches!(last, Wave::Percent(100)) && *last != Wave::Count(count) {
        sink.push(
            Draft::new("waves-not-whole", last_span.clone(), "the last wave is not the whole")
                .label("expected \"100%\" behind this")
                .hint("the old release stays until every server is new"),
        );
        good = false;
    }
    good.then(|| waves.iter().map(|(wave, _)| *wave).collect())
}

fn grows(before: Wave, this: Wave, count: Option<u32>) -> bool {
    match (before, this) {
        (Wave::Count(a), Wave::Count(b)) | (Wave::Percent(a), Wave::Percent(b)) => a < b,
        (a, b) => count.is_none_or(|count| count == 0 || servers(a, count) <= servers(b, count)),
    }
}

fn servers(wave: Wave, count: u32) -> u64 {
    match wave {
        Wave::Count(n) => u64::from(n),
        Wave::Percent(p) => (u64::from(count) * u64::from(p)).div_ceil(100),
    }
}

/// The file's order of tiers. None: it was wrong, and told.
pub(crate) fn tiers(context: &Context, block: &Block, sink: &mut Sink) -> Option<Vec<TierName>> {
    let section = Section::of(context, &schema::TIERS, block, sink);
    let names = section.need("tiers", sink, |v| {
        read::list(v, "a list of tiers' names", TIERS_MAX, |item| {
            let text = read::text(item, "a tier's name in quotes")?;
            Ok((at(item, read::name(&text, TierName::new))?, item.span.clone()))
        })
    })?;
    let mut tiers: Vec<TierName> = Vec::new();
    let mut good = true;
    for (i, (name, span)) in names.iter().enumerate() {
        if let Some((_, first)) = names[..i].iter().find(|(other, _)| other == name) {
            let wrong = ValidationError::new("duplicate-item", format!("the tier `{name}` stands in the list twice"), "the second time");
            sink.push(Draft::new(wrong.code, span.clone(), wrong.message).label(wrong.expected).related(first.clone(), "the first time"));
            good = false;
        }
        tiers.push(name.clone());
    }
    good.then_some(tiers)
}
