//! `secret "name" { ... }`, and what a service gets of them: `secret.NAME` as a variable's value, and `secrets = [secret.NAME]` as files.

use super::context::Context;
use super::labels::{label_name, reference};
use super::pairs;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::syntax::value::{Value, What};
use model::{SecretName, SecretSource, SecretSpec, SecretUse, ValidationError, path_validation, validation};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// No service reads more files than this from `/run/secrets`.
const FILES_MAX: usize = 100;

pub(crate) fn decode(context: &Context, label: Range<usize>, block: &Block, sink: &mut Sink) -> Option<SecretSpec> {
    let section = Section::of(context, &schema::SECRET, block, sink);
    let name = label_name(context, label, block, sink, SecretName::new);
    let path = |v: &Value| {
        let path = read::text(v, "a path in quotes, such as \"/etc/shop/db-url\"")?;
        at(v, path_validation::source(&path).map(|()| path))
    };
    let file = section.or("file", None, sink, |v| Ok(Some(SecretSource::File { path: path(v)? })));
    let command = section.or("command", None, sink, |v| Ok(Some(SecretSource::Command { command: read::command(v)? })));
    let age = section.or("age", None, sink, |v| Ok(Some(SecretSource::Age { path: path(v)? })));
    let mut given = ["file", "command", "age"].into_iter().filter_map(|name| section.key_span(name).map(|span| (name, span)));
    match (given.next(), given.next()) {
        (Some((first, first_span)), Some((second, span))) => {
            let draft = Draft::new("source-twice", span, format!("`{second}` beside `{first}`: a secret has one source"));
            sink.push(draft.label("expected one of file, command, age").related(first_span, "the other source"));
            return None;
        }
        (None, _) if !section.may_have("file") => {
            let draft = Draft::new("no-source", section.head.clone(), "this secret has no source");
            let draft = draft.label("expected one of file, command, age");
            sink.push(draft.hint("write `file = \"/etc/shop/db-url\"`; the value itself never stands in this file"));
            return None;
        }
        _ => {}
    }
    Some(SecretSpec { name: name?, source: file?.or(command?).or(age?)? })
}

/// A variable's value: a text, or a secret.
enum Variable {
    Text(String),
    Secret(SecretName),
}

/// What the file says of the service's port, as far as it decides whether `PORT` may be given.
#[derive(Clone, Copy)]
pub(crate) enum OwnPort {
    Is(u16),
    /// Its container image may expose one.
    OfImage,
    No,
}

/// The variables of a service, and its secrets.
pub(crate) fn used(
    context: &Context,
    section: &Section,
    port: OwnPort,
    sink: &mut Sink,
) -> (Option<BTreeMap<String, String>>, Option<SecretUse>) {
    let variables = pairs::decode(context, section, "env", sink, |name, span, value| {
        validation::variable(name).and_then(|()| not_reserved(name, port, value)).map_err(|wrong| vec![(span.clone(), wrong)])?;
        match &value.what {
            What::Reference(..) => secret_reference(context, value).map(Variable::Secret),
            _ => pairs::text(value, "a text, a number, true, false or secret.NAME").map(Variable::Text),
        }
    });
    let files = section.or("secrets", Vec::new(), sink, |v| {
        let items = read::list(v, "a list of secrets, such as [secret.db]", FILES_MAX, |item| {
            Ok((item.span.clone(), secret_reference(context, item)?.to_string()))
        })?;
        read::no_doubles(items)
    });
    let mut env = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    let is_whole = variables.is_some();
    for (name, value) in variables.into_iter().flatten() {
        match value {
            Variable::Text(text) => drop(env.insert(name, text)),
            Variable::Secret(secret) => drop(secrets.insert(name, secret)),
        }
    }
    let files = files.map(|files| files.into_iter().filter_map(|name| SecretName::new(name).ok()).collect::<BTreeSet<_>>());
    (is_whole.then_some(env), files.filter(|_| is_whole).map(|files| SecretUse { env: secrets, files }))
}

/// A value that a server never sees is refused, and not dropped; one that says the same as `port` does no harm.
fn not_reserved(name: &str, port: OwnPort, value: &Value) -> Result<(), ValidationError> {
    if !model::is_set_by_afresh(name) {
        return Ok(());
    }
    let reserved = |expected: &str| ValidationError::new("reserved-variable", format!("Afresh sets `{name}` itself"), expected);
    if name != "PORT" {
        return Err(reserved("expected another name; those that begin with AFRESH_ are Afresh's"));
    }
    let same = |port: u16| matches!(pairs::text(value, ""), Ok(text) if text == port.to_string());
    let said = "leave this out: each server gets PORT from `port`";
    match port {
        OwnPort::Is(port) if same(port) => Ok(()),
        OwnPort::Is(port) => {
            Err(reserved(said).hint(format!("the service has `port = {port}`: change it if its program listens elsewhere")))
        }
        OwnPort::OfImage => Err(reserved(said).hint("write `port = 8080` in the service, with the port its program listens on")),
        OwnPort::No => Ok(()),
    }
}

fn secret_reference(context: &Context, value: &Value) -> Read<SecretName> {
    let name = reference("secret", &context.secrets, value)?;
    // A wrong name was reported at the secret's own place.
    SecretName::new(name).map_err(|_| Vec::new())
}
