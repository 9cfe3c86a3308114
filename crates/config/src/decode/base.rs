//! `base = image.NAME`: what an image stands on, put into its recipe once every image of the file is read.

use super::image::Decoded;
use crate::sink::{Draft, Sink};
use model::{ImageName, ImageSpec, validation};
use std::collections::BTreeMap;

/// Every image with its bases in it. One whose base could not be read is left out: why was reported there.
pub(crate) fn resolve(all: &BTreeMap<ImageName, Decoded>, sink: &mut Sink) -> BTreeMap<ImageName, ImageSpec> {
    all.iter().filter_map(|(name, image)| Some((name.clone(), whole(name, image, all, sink)?))).collect()
}

fn whole(name: &ImageName, image: &Decoded, all: &BTreeMap<ImageName, Decoded>, sink: &mut Sink) -> Option<ImageSpec> {
    let Some((_, place)) = &image.base else { return Some(image.spec.clone()) };
    let mut chain: Vec<(&ImageName, &Decoded)> = vec![(name, image)];
    while let Some((base, _)) = &chain[chain.len() - 1].1.base {
        if base == name {
            let names: Vec<&str> = chain.iter().map(|(name, _)| name.as_str()).chain([name.as_str()]).collect();
            let draft = Draft::new("base-circle", place.clone(), format!("the image stands on itself: {}", names.join(" on ")));
            sink.push(draft.label("expected an image that does not need this one"));
            return None;
        }
        // A circle further down is reported of those that are in it; one that is too high, of the first.
        if chain.iter().any(|(seen, _)| *seen == base) || chain.len() > ImageSpec::LEVELS_MAX {
            return None;
        }
        let below = all.get(base)?;
        if below.spec.oci.is_some() {
            let draft =
                Draft::new("base-is-container", place.clone(), format!("`{base}` is a container image, and nothing is built on one"));
            sink.push(
                draft.label("expected an image of packages").hint("build on it with its own tools, and name what comes out in `oci`"),
            );
            return None;
        }
        chain.push((base, below));
    }
    let mut upwards = chain.into_iter().rev().map(|(_, image)| image.spec.clone());
    let lowest = upwards.next()?;
    let whole = upwards.fold(lowest, |base, spec| stand(spec, base));
    // What does not go together below this image is reported there.
    let is_base_whole = whole.base.as_deref().is_some_and(|base| validation::upon(base).is_ok());
    if let (true, Err(wrong)) = (is_base_whole, validation::upon(&whole)) {
        sink.push(Draft::new(wrong.code, place.clone(), wrong.message).label(wrong.expected).maybe_hint(wrong.hint));
    }
    Some(whole)
}

/// The suites are those of the base.
fn stand(mut spec: ImageSpec, base: ImageSpec) -> ImageSpec {
    spec.debian.clone_from(&base.debian);
    spec.custom.suites.clone_from(&base.custom.suites);
    spec.custom.components.clone_from(&base.custom.components);
    spec.custom.allow_unsigned.clone_from(&base.custom.allow_unsigned);
    ImageSpec { base: Some(Box::new(base)), ..spec }
}
