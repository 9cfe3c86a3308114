//! What an image has besides its packages: `suites`, `components`, `allow_unsigned`, `user "name" { ... }`, `file "/path" { ... }`, `args` and `script`.
//! What may stand in them is in `model::validation`, which the builder keeps to as well.

use super::context::Context;
use super::labels::label_with;
use super::pairs;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::value::Value;
use crate::units;
use model::{ImageCustom, ImageFile, ImageUser, validation};
use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) fn decode(context: &Context, image: &mut Section, sink: &mut Sink) -> Option<ImageCustom> {
    let suites = image.or("suites", Vec::new(), sink, |v| {
        let items = read::list(v, "a list of names of suites", validation::SUITES_MAX, |item| {
            Ok((item.span.clone(), at(item, units::suite(&read::text(item, "a suite's name")?))?))
        })?;
        read::no_doubles(items)
    });
    let components = image.or("components", Vec::new(), sink, |v| {
        let items = read::list(v, "a list of components", validation::SUITES_MAX, |item| {
            Ok((item.span.clone(), at(item, units::component(&read::text(item, "a component's name")?))?))
        })?;
        read::no_doubles(items)
    });
    let allow_unsigned = image.or("allow_unsigned", Vec::new(), sink, |v| {
        let items = read::list(v, "a list of addresses", validation::SUITES_MAX, |item| {
            let text = read::text(item, "an archive's address")?;
            Ok((item.span.clone(), at(item, validation::archive_address(&text).map(|()| text))?))
        })?;
        read::no_doubles(items)
    });
    let users = users(context, image, sink);
    let files = files(context, image, sink);
    let args = args(context, image, sink);
    let script = image.or("script", None, sink, |v| Ok(Some(read::text_within(v, "the script's text", validation::TEXT_BYTES_MAX)?)));
    Some(ImageCustom {
        suites: suites?,
        components: components?,
        allow_unsigned: allow_unsigned?,
        users: users?,
        files: files?,
        args: args?,
        script: script?,
    })
}

fn args(context: &Context, image: &Section, sink: &mut Sink) -> Option<BTreeMap<String, String>> {
    let args = pairs::decode(context, image, "args", sink, |name, span, value| {
        validation::arg_name(name).map_err(|wrong| vec![(span.clone(), wrong)])?;
        let text = pairs::text(value, "a text, a number, true or false")?;
        validation::arg_value(name, &text).map_err(|wrong| vec![(value.span.clone(), wrong)])?;
        Ok(text)
    })?;
    let place = || image.key_span("args").or(image.block("args").map(|block| block.word.clone()));
    if let (false, false, Some(span)) = (args.is_empty(), image.may_have("script"), place()) {
        let wrong = validation::needs_script();
        sink.push(Draft::new(wrong.code, span, wrong.message).label(wrong.expected).hint("write `script = \"...\"` beside it"));
        return None;
    }
    if args.len() > validation::ARGS_MAX {
        let span = place().unwrap_or(image.head.clone());
        let draft = Draft::new("out-of-range", span, format!("{} build arguments", args.len()));
        sink.push(draft.label(format!("expected at most {}", validation::ARGS_MAX)));
        return None;
    }
    Some(args)
}

fn users(context: &Context, image: &mut Section, sink: &mut Sink) -> Option<BTreeMap<String, ImageUser>> {
    let mut all = Vec::new();
    let mut numbers: BTreeMap<u64, Range<usize>> = BTreeMap::new();
    for (label, block) in image.named("user", sink) {
        let section = Section::of(context, &schema::IMAGE_USER, block, sink);
        let name = label_with(context, label, block, sink, |text| units::account(text, "user"));
        let uid = section.need("uid", sink, |v| read::number(v, u64::from(*validation::UIDS.start()), u64::from(*validation::UIDS.end())));
        if let Some(uid) = uid {
            let place = section.place("uid");
            match numbers.get(&uid) {
                Some(first) => sink.push(
                    Draft::new("uid-taken", place, format!("two users have the number {uid}"))
                        .label("the second")
                        .related(first.clone(), "the first")
                        .hint("give one of them another number"),
                ),
                None => drop(numbers.insert(uid, place)),
            }
        }
        let home = section.or("home", None, sink, |v| Ok(Some(account_path(v, "\"/srv/shop\"")?)));
        let shell = section.or("shell", None, sink, |v| Ok(Some(account_path(v, "\"/bin/sh\"")?)));
        let groups = section.or("groups", Vec::new(), sink, |v| {
            let items = read::list(v, "a list of names of groups", validation::GROUPS_MAX, |item| {
                Ok((item.span.clone(), at(item, units::account(&read::text(item, "a group's name")?, "group"))?))
            })?;
            read::no_doubles(items)
        });
        let uid = uid.and_then(|uid| u32::try_from(uid).ok());
        all.push((|| Some((name?, ImageUser { uid: uid?, home: home?, shell: shell?, groups: groups? })))());
    }
    all.into_iter().collect()
}

fn account_path(value: &Value, example: &str) -> Read<String> {
    at(value, units::account_path(&read::text(value, &format!("a path in quotes, such as {example}"))?))
}

fn files(context: &Context, image: &mut Section, sink: &mut Sink) -> Option<BTreeMap<String, ImageFile>> {
    let mut all = Vec::new();
    for (label, block) in image.named("file", sink) {
        let section = Section::of(context, &schema::IMAGE_FILE, block, sink);
        let path = label_with(context, label, block, sink, units::file_path);
        let content = section.need("content", sink, |v| read::text_within(v, "the file's text", validation::TEXT_BYTES_MAX));
        let mode =
            section.or("mode", ImageFile::default_mode(), sink, |v| read::unit(v, "permissions in quotes, such as \"0644\"", units::mode));
        all.push((|| Some((path?, ImageFile { content: content?, mode: mode? })))());
    }
    all.into_iter().collect()
}
