//! One block's keys and blocks by name: what is unknown, doubled or of the wrong kind is reported when it is opened.

use super::context::Context;
use super::read::Read;
use crate::schema::{Kind, Shape};
use crate::sink::{Draft, Sink};
use crate::syntax::tree::{Block, Body, Item, KeyItem};
use crate::syntax::value::{self, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// What other tools call these keys.
const ELSEWHERE: &[(&str, &str)] = &[
    ("replicas", "count"),
    ("instances", "count"),
    ("command", "run"),
    ("cmd", "run"),
    ("entrypoint", "run"),
    ("environment", "env"),
    ("healthcheck", "health"),
    ("resources", "limits"),
    ("mem", "memory"),
    ("http", "path"),
    ("interval", "every"),
    ("strategy", "rollout"),
    ("group", "tier"),
    ("suite", "debian"),
    ("app", "service"),
    ("provision", "script"),
    ("permissions", "mode"),
    ("arguments", "args"),
    ("build_args", "args"),
];

pub(crate) struct Section<'a> {
    context: &'a Context<'a>,
    /// What is underlined when something is missing.
    pub head: Range<usize>,
    damaged: bool,
    shape: &'static Shape,
    keys: BTreeMap<&'a str, &'a KeyItem>,
    blocks: BTreeMap<&'a str, Vec<&'a Block>>,
}

impl<'a> Section<'a> {
    pub fn of(context: &'a Context<'a>, shape: &'static Shape, block: &'a Block, sink: &mut Sink) -> Self {
        Self::open(context, shape, block.head(context.text), &block.body, sink)
    }

    pub fn open(context: &'a Context<'a>, shape: &'static Shape, head: Range<usize>, body: &'a Body, sink: &mut Sink) -> Self {
        let mut section = Self { context, head, damaged: body.damaged, shape, keys: BTreeMap::new(), blocks: BTreeMap::new() };
        for item in &body.items {
            match item {
                Item::Comment(_) => {}
                Item::Key(key) => section.take_key(key, sink),
                Item::Block(block) => section.take_block(block, sink),
            }
        }
        section
    }

    fn take_key(&mut self, item: &'a KeyItem, sink: &mut Sink) {
        let name = &self.context.text[item.name.clone()];
        match self.kind(name) {
            None => self.unknown(name, &item.name, "key", sink),
            Some(Kind::Block | Kind::Named | Kind::Repeated) => {
                let example = self.example(name);
                sink.push(
                    Draft::new("not-a-key", item.name.clone(), format!("`{name}` is a block, not a key"))
                        .label("no `=` stands behind it")
                        .hint(format!("write `{example}`")),
                );
                self.damaged = true;
            }
            Some(Kind::Value | Kind::Either) => {
                let first = self.keys.get(name).map(|k| k.name.clone()).or(self.blocks.get(name).map(|b| b[0].word.clone()));
                match first {
                    Some(first) => twice(name, &item.name, first, sink),
                    None => drop(self.keys.insert(name, item)),
                }
            }
        }
    }

    fn take_block(&mut self, block: &'a Block, sink: &mut Sink) {
        let name = &self.context.text[block.word.clone()];
        let head = block.head(self.context.text);
        match self.kind(name) {
            None => self.unknown(name, &block.word, "block", sink),
            Some(Kind::Value) => {
                let example = self.example(name);
                sink.push(
                    Draft::new("not-a-block", head, format!("`{name}` is a key, not a block"))
                        .label("expected `=` and a value")
                        .hint(format!("write `{example}`")),
                );
                self.damaged = true;
            }
            Some(Kind::Named) => self.blocks.entry(name).or_default().push(block),
            Some(kind @ (Kind::Block | Kind::Either | Kind::Repeated)) => {
                if let Some(label) = block.labels.first() {
                    sink.push(
                        Draft::new("extra-label", label.clone(), format!("`{name}` has no name here"))
                            .label("leave this out")
                            .hint(format!("write `{}`", self.example(name))),
                    );
                }
                let first = self.keys.get(name).map(|k| k.name.clone()).or(self.blocks.get(name).map(|b| b[0].word.clone()));
                match first.filter(|_| kind != Kind::Repeated) {
                    Some(first) => twice(name, &block.word, first, sink),
                    None => self.blocks.entry(name).or_default().push(block),
                }
            }
        }
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.shape.keys.iter().find(|k| k.name == name).map(|k| k.kind)
    }

    fn example(&self, name: &str) -> &'static str {
        self.shape.keys.iter().find(|k| k.name == name).map_or("", |k| k.example)
    }

    fn unknown(&mut self, name: &str, span: &Range<usize>, what: &str, sink: &mut Sink) {
        if sink.counts_only() {
            return;
        }
        let names = || self.shape.keys.iter().map(|k| k.name);
        let of = if self.shape.block == "the file" { "the file".to_string() } else { format!("`{}`", self.shape.block) };
        // `user` is a service's key and an image's block: the one that is written alike comes first.
        let alike =
            |kind| matches!((kind, what), (Kind::Either, _) | (Kind::Value, "key") | (Kind::Block | Kind::Named | Kind::Repeated, "block"));
        let others = || crate::SHAPES.iter().filter(|s| s.block != self.shape.block);
        let elsewhere = others()
            .find(|s| s.keys.iter().any(|k| k.name == name && alike(k.kind)))
            .or_else(|| others().find(|s| s.keys.iter().any(|k| k.name == name)));
        let meant = ELSEWHERE.iter().find(|(other, ours)| *other == name && names().any(|n| n == *ours)).map(|(_, ours)| *ours);
        let hint = match (meant.or(model::near::nearest(name, names())), elsewhere) {
            (Some(near), _) => {
                // The misspelt one stands for the right one: that is not missing too.
                self.damaged = true;
                Some(format!("did you mean `{near}`?"))
            }
            (None, Some(other)) => Some(format!("`{name}` belongs in {}", place(other.block))),
            (None, None) => None,
        };
        sink.push(
            Draft::new(if what == "key" { "unknown-key" } else { "unknown-block" }, span.clone(), format!("{of} has no {what} `{name}`"))
                .label(format!("expected one of {}", names().collect::<Vec<_>>().join(", ")))
                .maybe_hint(hint),
        );
    }

    /// The value of a key, if it is there and can be read.
    pub fn value(&self, name: &'static str, sink: &mut Sink) -> Option<Value> {
        debug_assert!(self.kind(name).is_some(), "{name} is not in the schema of {}", self.shape.block);
        let item = self.keys.get(name)?;
        value::read(self.context.text, &self.context.tokens[item.value.clone()], sink)
    }

    /// The key's value as `read` takes it; None if it is not there, or wrong and told.
    pub fn get<T>(&self, name: &'static str, sink: &mut Sink, read: impl FnOnce(&Value) -> Read<T>) -> Option<T> {
        let value = self.value(name, sink)?;
        match read(&value) {
            Ok(read) => Some(read),
            Err(wrongs) => {
                for (span, wrong) in wrongs {
                    sink.push(Draft::new(wrong.code, span, wrong.message).label(wrong.expected).maybe_hint(wrong.hint));
                }
                None
            }
        }
    }

    /// As [`Section::get`], and `default` where the key is not there. None only if it is wrong.
    pub fn or<T>(&self, name: &'static str, default: T, sink: &mut Sink, read: impl FnOnce(&Value) -> Read<T>) -> Option<T> {
        if self.has(name) { self.get(name, sink, read) } else { Some(default) }
    }

    /// As [`Section::get`]; a key that is not there is an error.
    pub fn need<T>(&self, name: &'static str, sink: &mut Sink, read: impl FnOnce(&Value) -> Read<T>) -> Option<T> {
        if !self.has(name) && !self.damaged {
            sink.push(
                Draft::new("missing-key", self.head.clone(), format!("`{name}` is missing"))
                    .label(format!("expected `{name}` in this block"))
                    .hint(format!("write `{}`", self.example(name))),
            );
        }
        self.get(name, sink, read)
    }

    pub fn has(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// False only if it is sure that the key is not there.
    pub fn may_have(&self, name: &str) -> bool {
        self.has(name) || self.damaged
    }

    /// The key's own place.
    pub fn key_span(&self, name: &str) -> Option<Range<usize>> {
        self.keys.get(name).map(|k| k.name.clone())
    }

    /// Where a key's value stands; the block's head if it is not there.
    pub fn place(&self, name: &str) -> Range<usize> {
        match self.keys.get(name) {
            Some(item) if !item.value.is_empty() => self.context.tokens[item.value.start].span.start..item.end,
            _ => self.head.clone(),
        }
    }

    pub fn block(&self, name: &'static str) -> Option<&'a Block> {
        debug_assert!(self.kind(name).is_some(), "{name} is not in the schema of {}", self.shape.block);
        self.blocks.get(name).and_then(|blocks| blocks.first().copied())
    }

    /// Every block of a word without names.
    pub fn all(&self, word: &'static str) -> Vec<&'a Block> {
        debug_assert_eq!(self.kind(word), Some(Kind::Repeated));
        self.blocks.get(word).cloned().unwrap_or_default()
    }

    /// Blocks with a name each; wrong and doubled names are reported.
    pub fn named(&mut self, word: &'static str, sink: &mut Sink) -> Vec<(Range<usize>, &'a Block)> {
        debug_assert_eq!(self.kind(word), Some(Kind::Named));
        let text = self.context.text;
        let mut seen: BTreeMap<&str, Range<usize>> = BTreeMap::new();
        let mut all = Vec::new();
        for block in self.blocks.get(word).into_iter().flatten().copied() {
            let Some(label) = block.labels.first() else {
                sink.push(
                    Draft::new("missing-label", block.head(text), format!("this `{word}` has no name"))
                        .label("expected a name in quotes behind it")
                        .hint(format!("write `{}`", self.example(word))),
                );
                all.push((block.word.clone(), block));
                continue;
            };
            if let Some(extra) = block.labels.get(1) {
                sink.push(Draft::new("extra-label", extra.clone(), format!("`{word}` has one name only")).label("leave this out"));
            }
            let name = &text[label.clone()];
            match seen.get(name) {
                Some(first) => sink.push(
                    Draft::new("duplicate-name", label.clone(), format!("there are two {word}s `{name}`"))
                        .label("the second")
                        .related(first.clone(), "the first"),
                ),
                None => drop(seen.insert(name, label.clone())),
            }
            all.push((label.clone(), block));
        }
        all
    }
}

fn place(block: &str) -> String {
    match block {
        "the file" => "the file itself, outside of every block".to_string(),
        "check of an image" => "an image's `check` block".to_string(),
        "registry of an image" => "an image's `registry` block".to_string(),
        "user of an image" => "an image's `user` block".to_string(),
        "file of an image" => "an image's `file` block".to_string(),
        "rollout of a service" => "a service's `rollout` block".to_string(),
        "rollout of the file" => "the file's own `rollout` block".to_string(),
        other => format!("the block `{other}`"),
    }
}

fn twice(name: &str, span: &Range<usize>, first: Range<usize>, sink: &mut Sink) {
    sink.push(
        Draft::new("duplicate-key", span.clone(), format!("`{name}` stands here twice"))
            .label("the second time")
            .related(first, "the first time"),
    );
}
