//! Random layers, flattened by us and by the model of the specification.

use crate::images::{Item, device, dir, fifo, file, hard, opaque, symlink, tar, whiteout};
use crate::seen;
use crate::spec_model::Model;
use crate::stores::{flatten, limits};
use proptest::prelude::*;

/// Few names, so that entries meet.
fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c", "d"]);
    (prop::collection::vec(part, 1..4), prop::sample::select(vec!["", "./", "/"]))
        .prop_map(|(parts, front)| format!("{front}{}", parts.join("/")))
}

fn target() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "/a", "/a/b", "../c", "../../..", ".", "/", "a/b", "/nowhere", "/etc", "c/../a"])
        .prop_map(str::to_string)
}

fn item() -> impl Strategy<Value = Item> {
    let folder = |name: String| name.rfind('/').map_or(String::new(), |at| name[..=at].to_string());
    let last = prop::sample::select(vec!["a", "b", "c", "d"]);
    let bare = prop_oneof![
        5 => name().prop_map(|n| dir(&n)),
        5 => (name(), "[a-z]{0,5}").prop_map(|(n, text)| file(&n, &text)),
        3 => (name(), target()).prop_map(|(n, to)| symlink(&n, &to)),
        2 => (name(), name()).prop_map(|(n, to)| hard(&n, &to)),
        1 => name().prop_map(|n| fifo(&n)),
        1 => name().prop_map(|n| device(&n)),
        3 => (name(), last).prop_map(move |(n, last)| whiteout(&folder(n), last)),
        1 => name().prop_map(|n| opaque(&format!("{n}/"))),
        1 => Just(opaque("")),
        1 => Just(dir("./")),
    ];
    let mode = prop::sample::select(vec![0o755, 0o644, 0o4755, 0o2775, 0o1777, 0o000]);
    (bare, mode, 0u64..70_000, 1_000_000_000u64..1_000_000_100, 0..5).prop_map(|(item, mode, uid, mtime, xattr)| {
        let item = item.mode(mode).owner(uid, uid / 2).time(mtime);
        match xattr {
            // Of pipes and links the kernel takes no `user.*`.
            0 if matches!(item.kind, b'0' | b'5') => item.xattr("user.x", b"a\nb\0c"),
            1 => item.xattr("trusted.overlay.opaque", b"y"),
            2 => item.xattr("user.overlay.whiteout", b""),
            _ => item,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[ignore = "needs root: files of many users"]
    fn random_layers_come_out_as_the_specification_says(layers in prop::collection::vec(prop::collection::vec(item(), 0..9), 1..5)) {
        let mut model = Model::new();
        let expected = layers.iter().try_for_each(|layer| model.apply(layer));
        let dir = tempfile::tempdir().unwrap();
        let tars: Vec<Vec<u8>> = layers.iter().map(|l| tar(l)).collect();
        let done = flatten(dir.path(), &tars, &limits());
        match (expected, done) {
            (Ok(()), Ok(_)) => {
                let difference = seen::difference(&seen::tree(&dir.path().join("root")), &model.tree());
                prop_assert!(difference.is_empty(), "{}\n{layers:#?}", difference.join("\n"));
            }
            (Err(_), Err(fault)) => prop_assert_eq!(fault.code, "bad-layer"),
            (expected, done) => prop_assert!(false, "the model says {expected:?}, and we {done:?}\n{layers:#?}"),
        }
    }
}
