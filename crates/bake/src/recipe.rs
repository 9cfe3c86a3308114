//! What a recipe is: its checks, its digest, and the constants that decide an image's bytes. Pure but for asking tools their version.

use crate::customise;
use crate::recipe_secrets;
use disk::files;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use model::{Digest, Fault, ImageSpec};
use std::collections::{BTreeMap, BTreeSet};
use store::erofs::IMAGE_PACK;
use store::program;

/// Grows when the same recipe and packages give other bytes: old images are then not taken for new ones.
pub const FORMAT: u32 = 5;

pub fn tools() -> BTreeMap<String, String> {
    BTreeMap::from([("mkfs.erofs".to_string(), program::version_of("mkfs.erofs", &["-V"]))])
}

/// Before anything of it is built, or asked of a mirror.
pub fn check(spec: &ImageSpec) -> Result<(), Fault> {
    spec.check()?;
    recipe_secrets::refusal(&recipe_secrets::recipe_secrets(spec)?, &|_| None).map_or(Ok(()), Err)
}

/// Of what decides the bytes; the recipe's own name and its schedule do not.
pub fn digest(spec: &ImageSpec) -> Digest {
    if let Some(source) = &spec.oci {
        return files::digest_of(serde_json::json!({ "format": FORMAT, "oci": source.reference }).to_string().as_bytes());
    }
    let packages: BTreeSet<&String> = spec.packages.iter().collect();
    let mut text = serde_json::json!({ "format": FORMAT, "debian": spec.debian, "packages": packages, "pack": format!("{IMAGE_PACK:?}"), "custom": customise::key(&spec.custom) });
    if let Some(base) = &spec.base {
        text["base"] = serde_json::json!(digest(base));
    }
    if spec.custom.script.is_some() {
        // A script sees a scrubbed tree since trees are made in stages: what it makes of it may be something else.
        text["stages"] = serde_json::json!(1);
    }
    files::digest_of(text.to_string().as_bytes())
}

pub fn digest_of_lines(what: &str, recipe: &Digest, lines: impl Iterator<Item = String>) -> Digest {
    let mut text = format!("{what}\n{recipe}\n");
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    files::digest_of(text.as_bytes())
}

/// `Sat, 21 Nov 2026 00:53:02 UTC` as seconds since 1970: the form of a release file's dates.
pub fn parse_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    // Which day of the week it was is not believed, and not compared.
    let [_, day, month, year, clock, "UTC" | "GMT" | "+0000"] = words[..] else { return None };
    let at = strtime::parse("%d %b %Y %H:%M:%S", format!("{day} {month} {year} {clock}")).and_then(|date| date.to_datetime()).ok()?;
    u64::try_from(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_release_files() {
        // `date -u -d ... +%s` said so.
        assert_eq!(parse_date("Sat, 21 Nov 2026 00:53:02 UTC"), Some(1_795_222_382));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(parse_date("Thu, 29 Feb 2024 12:00:00 UTC"), Some(1_709_208_000));
        for bad in ["", "now", "Sat, 21 Nov 2026 00:53 UTC", "Sat, 99 Nov 2026 00:53:02 UTC", "Sat, 21 Nov 2026 00:53:02 CET"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_recipe_is_its_packages_and_not_its_name() {
        let spec = |name: &str, packages: &[&str]| -> ImageSpec {
            serde_json::from_value(serde_json::json!({ "name": name, "debian": "bookworm", "packages": packages })).unwrap()
        };
        assert_eq!(digest(&spec("a", &["x1", "y1"])), digest(&spec("b", &["y1", "x1"])));
        assert_ne!(digest(&spec("a", &["x1"])), digest(&spec("a", &["y1"])));
        assert_eq!(check(&spec("a", &["--option"])).unwrap_err().code, "bad-package");
    }

    #[test]
    fn a_base_is_part_of_the_recipe() {
        let spec = |packages: &[&str]| -> ImageSpec {
            serde_json::from_value(serde_json::json!({ "name": "a", "debian": "bookworm", "packages": packages })).unwrap()
        };
        let on = |base: ImageSpec, top: ImageSpec| ImageSpec { base: Some(Box::new(base)), ..top };
        let (one, two) = (on(spec(&["x1"]), spec(&["y1"])), on(spec(&["x2"]), spec(&["y1"])));
        check(&one).unwrap();
        assert_eq!(one.levels().iter().map(|l| l.packages[0].as_str()).collect::<Vec<_>>(), ["x1", "y1"]);
        assert!(digest(&one) != digest(&two) && digest(&one) != digest(&spec(&["y1"])));
        // As it is without a base, in form 5: whoever changes this changes the form.
        assert_eq!(digest(&spec(&["curl"])).as_str(), "sha256:6dfbf0da9a516cee46d6694764cd25a447e646e5811237ea9900ba62d3866dae");
        let other = ImageSpec { debian: "trixie".to_string(), ..spec(&["y1"]) };
        assert_eq!(check(&on(spec(&["x1"]), other)).unwrap_err().code, "base-differs");
        assert_eq!(check(&on(spec(&["--option"]), spec(&[]))).unwrap_err().code, "bad-package");
    }
}
