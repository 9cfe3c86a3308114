//! `image "name" { ... }`

use super::Context;
use super::read::{self, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::units::{self, Wrong};
use model::{ImageName, ImageSpec};
use std::ops::Range;

pub(crate) fn decode(context: &Context, label: Range<usize>, block: &Block, sink: &mut Sink) -> Option<ImageSpec> {
    let section = Section::of(context, &schema::IMAGE, block, sink);
    let name = label_name(context, label, block, sink, ImageName::new);
    let debian = section.need("debian", sink, |v| at(v, units::suite(&read::text(v, "the name of a suite in quotes")?)));
    let packages = section.need("packages", sink, |v| {
        let mut names = read::list(v, "a list of package names", 5_000, |item| {
            Ok((item.span.clone(), at(item, units::package(&read::text(item, "a package's name")?))?))
        })?;
        names.sort_by(|a, b| (&a.1, a.0.start).cmp(&(&b.1, b.0.start)));
        let doubles: Vec<_> = names
            .windows(2)
            .filter(|pair| pair[0].1 == pair[1].1)
            .map(|pair| {
                (pair[1].0.clone(), Wrong::new("duplicate-item", format!("`{}` stands in the list twice", pair[1].1), "the second time"))
            })
            .collect();
        if doubles.is_empty() { Ok(names.into_iter().map(|(_, name)| name).collect::<Vec<_>>()) } else { Err(doubles) }
    });
    let rebuild = section.or("rebuild", None, sink, |v| Ok(Some(at(v, units::rebuild(&read::text(v, "a schedule in quotes")?))?)));
    let max_age_ms = section.or("max_age", None, sink, |v| Ok(Some(read::duration(v, "1h", "3650d")?)));
    Some(ImageSpec { name: name?, debian: debian?, packages: packages?, rebuild: rebuild?, max_age_ms: max_age_ms? })
}

/// A block's name. None where it has none or a wrong one, which is told.
pub(crate) fn label_name<T>(
    context: &Context,
    label: Range<usize>,
    block: &Block,
    sink: &mut Sink,
    make: impl Fn(String) -> Result<T, model::NameError>,
) -> Option<T> {
    if block.labels.is_empty() {
        return None;
    }
    match read::name(&context.text[label.clone()], make) {
        Ok(name) => Some(name),
        Err(wrong) => {
            sink.push(Draft::new(wrong.code, label, wrong.message).label(wrong.expected).maybe_hint(wrong.hint));
            None
        }
    }
}
