//! A database of schema 5 is read as `afresh serve` wrote it: names of services, current and former, beside all that schema 4 has.

use crate::common::*;
use model::*;
use std::collections::BTreeMap;

/// Committed while schema 5 was the newest: no later version may fail to open it. It is never edited; a new schema gets a file of its own.
const SCHEMA_5: &str = include_str!("fixtures/schema-5.sql");

#[test]
fn names_of_schema_5_are_as_they_were_given() {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_5);
    let store = dir.store();
    let names = store.read(|r| r.names()).unwrap();
    let rows: BTreeMap<&str, (&str, bool)> =
        names.rows().map(|(name, named)| (name.as_str(), (named.service.as_str(), named.current))).collect();
    assert_eq!(rows, [("post", ("mail", false)), ("shop", ("web", false)), ("store", ("web", true))].into());
    // Everything else has the ids, and is what it was.
    let services = store.browse(|r| r.service_names()).unwrap();
    assert_eq!(services.iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["found", "mail", "web"]);
    let open = store.read(|r| r.now(&name("web"))).unwrap().unwrap().open.unwrap();
    assert_eq!((open.id.as_str(), open.opened.spec.name.as_str()), ("web.6", "web"));
}
