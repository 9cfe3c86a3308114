//! What the mirrors had signed when they were asked before, so that an older index, good signature and all, is not taken for news:
//! whoever can hold back a newer one (a stale cache, somebody in between) would keep the fixes in it from us.
//!
//! ```text
//! apt/newest.json   "Origin Label suite" -> seconds since 1970 of the newest index ever taken
//!   an older one comes ─▶ refused      its stanza says Check-Valid-Until: no ─▶ taken: that mirror stands still on purpose
//! ```

use crate::index_files::Release;
use crate::packages;
use crate::recipe::parse_date;
use crate::sources::Source;
use attest::statement::rfc3339;
use disk::files;
use model::{Fault, Time};
use std::collections::BTreeMap;
use store::{Store, to_json};

const LIMIT: u64 = 1 << 20;

/// Refuses an index that is older than one taken before, and remembers the newest.
pub fn check(store: &Store, releases: &[Release], sources: &[Source]) -> Result<(), Fault> {
    let path = store.dir("apt").join("newest.json");
    let _alone = store.lock("newest", || {})?;
    // One that cannot be read is begun again: apt's own lists still hold what each mirror gave last.
    let mut newest: BTreeMap<String, u64> =
        files::read_limited(&path, LIMIT).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let before = newest.clone();
    for release in releases {
        let get = |key: &str| release.fields.get(key).map_or("", String::as_str);
        let Some(date) = parse_date(get("Date")) else { continue };
        let key = format!("{} {} {}", get("Origin"), get("Label"), packages::suite_of(&release.file));
        match newest.get(&key) {
            Some(seen) if *seen > date && !stands_still(release, sources) => {
                return Err(Fault::world(
                    "index-replayed",
                    format!(
                        "a mirror has gone back in time: {} was signed on {}, and one signed on {} was taken before",
                        release.file,
                        at(date),
                        at(*seen)
                    ),
                )
                .hint(format!(
                    "it lags, or somebody keeps newer packages from this machine: use another mirror or try again later; to take the older one all the same remove {}",
                    path.display()
                )));
            }
            Some(seen) if *seen >= date => {}
            _ => drop(newest.insert(key, date)),
        }
    }
    if newest == before { Ok(()) } else { files::write_atomic(&path, &to_json(&newest)) }
}

pub fn at(seconds: u64) -> String {
    rfc3339(Time(seconds.saturating_mul(1000)))
}

fn stands_still(release: &Release, sources: &[Source]) -> bool {
    let suite = packages::suite_of(&release.file);
    let says_no = |s: &Source| s.options.iter().any(|(k, v)| k == "Check-Valid-Until" && matches!(v.as_str(), "no" | "false" | "0"));
    sources.iter().any(|s| says_no(s) && s.suites.iter().any(|n| n.replace('/', "_").starts_with(suite)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Layout;

    fn release(date: &str) -> Release {
        let fields = [("Origin", "Debian"), ("Label", "Debian"), ("Codename", "bookworm"), ("Date", date)];
        Release {
            file: "m_debian_dists_bookworm_InRelease".into(),
            digest: files::digest_of(date.as_bytes()),
            fields: fields.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect(),
        }
    }

    #[test]
    fn an_older_index_is_refused_until_its_owner_says_that_it_stands_still() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Layout::new(dir.path())).unwrap();
        let (old, new) = (release("Fri, 20 Nov 2026 00:00:00 UTC"), release("Sat, 21 Nov 2026 00:00:00 UTC"));
        check(&store, std::slice::from_ref(&old), &[]).unwrap();
        check(&store, std::slice::from_ref(&new), &[]).unwrap();
        check(&store, std::slice::from_ref(&new), &[]).unwrap();
        let fault = check(&store, std::slice::from_ref(&old), &[]).unwrap_err();
        assert_eq!(fault.code, "index-replayed");
        assert!(fault.message.contains("2026-11-20T00:00:00Z") && fault.message.contains("2026-11-21T00:00:00Z"), "{fault:?}");
        let mut still = crate::sources::parse(
            "x.sources",
            "Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main\nCheck-Valid-Until: no\n",
        );
        check(&store, std::slice::from_ref(&old), &still).unwrap();
        still[0].options.clear();
        // Garbage in the file is no word for or against anybody.
        std::fs::write(store.dir("apt").join("newest.json"), "{").unwrap();
        check(&store, &[old], &still).unwrap();
        assert_eq!(check(&store, &[new], &still), Ok(()));
    }
}
