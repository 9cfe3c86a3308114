//! `WWW-Authenticate`: what a registry asks for. Pure.

#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The first one that we can answer; a bearer token before a password.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let get = |name: &str| parameters(rest).into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            if let Some(realm) = get("realm") {
                return Some(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            found = Some(Challenge::Basic);
        }
    }
    found
}

/// `key="value",key=value`; a value in quotes may hold commas, and quotes behind a backslash.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let key: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=')).collect();
        chars.next();
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
            while chars.next_if(|c| *c != ',').is_some() {}
        } else {
            value.extend(std::iter::from_fn(|| chars.next_if(|c| *c != ',')));
        }
        chars.next();
        all.push((key.trim().to_string(), value.trim().to_string()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_string), scope: scope.map(str::to_string) })
        };
        for (headers, is) in [
            (
                vec![r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#],
                bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push")),
            ),
            (vec!["Basic realm=\"x\"", "bearer realm=https://t, service=s"], bearer("https://t", Some("s"), None)),
            (vec!["Basic realm=\"Registry Realm\""], Some(Challenge::Basic)),
            (vec!["Bearer service=x"], None),
            (vec![r#"Bearer realm="a\"b"#], bearer("a\"b", None, None)),
            (vec!["Negotiate", "", "Bearer ="], None),
        ] {
            assert_eq!(parse(headers.iter().copied()), is, "{headers:?}");
        }
    }
}
