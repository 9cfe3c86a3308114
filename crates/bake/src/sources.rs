//! Which package sources belong to a release: read from apt's own files in both of their forms, third parties left out.
//! Pure: it is given the texts.

use std::fmt::Write;

/// One place packages come from: a stanza of the deb822 form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// A path, or the key itself as apt writes it (further lines indented).
    pub signed_by: Option<String>,
    /// `Check-Valid-Until: no` and the like, which its owner wrote on purpose.
    pub options: Vec<(String, String)>,
}

/// Reads one file; `name` tells the form by its ending. Stanzas that cannot be used (deb-src, disabled, no suite) are left out.
pub fn parse(name: &str, text: &str) -> Vec<Source> {
    if name.ends_with(".sources") { parse_deb822(text) } else { text.lines().filter_map(parse_line).collect() }
}

fn parse_deb822(text: &str) -> Vec<Source> {
    let mut all = Vec::new();
    for stanza in stanzas(text) {
        let get = |key: &str| stanza.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.as_str());
        let words = |key: &str| get(key).unwrap_or("").split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let off = get("Enabled")
            .is_some_and(|v| ["no", "false", "0", "off", "without", "disable"].contains(&v.trim().to_ascii_lowercase().as_str()));
        if off || !words("Types").iter().any(|t| t == "deb") {
            continue;
        }
        let options = ["Check-Valid-Until", "Valid-Until-Max", "Check-Date", "Trusted"]
            .iter()
            .filter_map(|k| get(k).map(|v| ((*k).to_string(), v.trim().to_string())))
            .collect();
        let source = Source {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
            signed_by: get("Signed-By").map(|v| v.trim_end().trim_start_matches(' ').to_string()),
            options,
        };
        if !source.uris.is_empty() && !source.suites.is_empty() {
            all.push(source);
        }
    }
    all
}

/// Stanzas of `Key: value` with indented further lines; comments are dropped.
pub fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            all.push(Vec::new());
            continue;
        }
        let stanza = all.last_mut().expect("it begins with one");
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_string(), value.trim_start().to_string()));
        }
    }
    all.retain(|s| !s.is_empty());
    all
}

/// `deb [signed-by=/a,/b arch=amd64] http://mirror/debian bookworm main contrib`
fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or("").trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let mut source = Source {
        uris: vec![uri.to_string()],
        suites: vec![suite.to_string()],
        components: words.map(str::to_string).collect(),
        signed_by: None,
        options: Vec::new(),
    };
    for option in options.split_whitespace() {
        match option.split_once('=') {
            Some(("signed-by", v)) => source.signed_by = Some(v.replace(',', " ")),
            Some(("check-valid-until", v)) => source.options.push(("Check-Valid-Until".into(), v.into())),
            Some(("trusted", v)) => source.options.push(("Trusted".into(), v.into())),
            _ => {}
        }
    }
    Some(source)
}

/// The pockets of a release that are used: the release itself, its updates, its security fixes.
fn pocket<'a>(suite: &'a str, release: &str) -> Option<&'a str> {
    let rest = suite.strip_prefix(release)?;
    ["", "-updates", "-security", "/updates"].contains(&rest).then_some(rest)
}

/// The sources of `release`, with nothing of third parties. Where the machine names none of its pockets and `own` (its own release) is
/// another, the machine's mirrors are asked for `release` instead: who has `bookworm-security` there has `trixie-security` there too.
/// So are they where the machine names some of the pockets on the very mirror of its own release: who wrote `deb ... trixie main`
/// for one package did not mean that an image should go without security fixes.
pub fn of_release(all: &[Source], release: &str, own: Option<&str>, components: &[String]) -> Vec<Source> {
    let mut found = select(all, release, release, components);
    let Some(own) = own.filter(|own| *own != release) else { return found };
    let mirrored = select(all, own, release, components);
    let has = |list: &[Source], suite: &str| list.iter().any(|s| s.suites.iter().any(|n| n == suite));
    let same_mirror = mirrored.iter().any(|m| has(std::slice::from_ref(m), release) && found.iter().any(|f| f.uris == m.uris));
    if found.is_empty() || same_mirror {
        for mut source in mirrored {
            source.suites.retain(|suite| !has(&found, suite));
            if !source.suites.is_empty() {
                found.push(source);
            }
        }
    }
    found
}

/// The first address that apt is configured to trust without a signature and that is not among those the recipe allows.
pub fn unsigned<'a>(sources: &'a [Source], allowed: &[String]) -> Option<&'a str> {
    // What apt does not take for a no.
    let is_trusted = |s: &&Source| {
        let no = ["no", "false", "0", "off", "without", "disable"];
        s.options.iter().any(|(k, v)| k == "Trusted" && !no.contains(&v.trim().to_ascii_lowercase().as_str()))
    };
    let plain = |address: &str| address.trim_end_matches('/').to_string();
    let uris = sources.iter().filter(is_trusted).flat_map(|s| &s.uris);
    uris.map(String::as_str).find(|uri| !allowed.iter().any(|a| plain(a) == plain(uri)))
}

/// Adds further suites of the same mirrors: to the source that has the release itself.
pub fn with_suites(mut sources: Vec<Source>, release: &str, further: &[String]) -> Vec<Source> {
    if let Some(main) = sources.iter_mut().find(|s| s.suites.iter().any(|n| n == release)) {
        main.suites.extend(further.iter().filter(|f| !main.suites.contains(f)).cloned().collect::<Vec<_>>());
    }
    sources
}

fn select(all: &[Source], from: &str, to: &str, components: &[String]) -> Vec<Source> {
    let mut found: Vec<Source> = Vec::new();
    for source in all {
        // A third party may name its suite after the release; only a distribution has the component main.
        let suites: Vec<String> = source.suites.iter().filter_map(|s| pocket(s, from)).map(|p| format!("{to}{p}")).collect();
        let main = source.components.iter().any(|c| c == "main");
        if suites.is_empty() || !main {
            continue;
        }
        let components = if components.is_empty() { vec!["main".to_string()] } else { components.to_vec() };
        let wanted = Source { suites, components, ..source.clone() };
        if !found.contains(&wanted) {
            found.push(wanted);
        }
    }
    found
}

/// As apt reads it, in the deb822 form.
pub fn render(sources: &[Source]) -> String {
    let mut text = String::new();
    for s in sources {
        let _ = write!(
            text,
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\n",
            s.uris.join(" "),
            s.suites.join(" "),
            s.components.join(" ")
        );
        if let Some(signed_by) = &s.signed_by {
            let _ = writeln!(text, "Signed-By: {signed_by}");
        }
        for (key, value) in &s.options {
            let _ = writeln!(text, "{key}: {value}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "Types: deb\n# a snapshot\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\nTypes: deb\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\nComponents: main\nSigned-By: /k.gpg\n";
    const NODE: &str = "Types: deb\nURIs: https://deb.nodesource.com/node_20.x\nSuites: nodistro\nComponents: main\n";
    const CLOUD: &str = "deb https://packages.cloud.google.com/apt cloud-sdk-bookworm main\n";
    const DOCKER: &str = "deb [arch=amd64 signed-by=/d.asc] https://download.docker.com/linux/debian bookworm stable\n";

    fn machine() -> Vec<Source> {
        [("a.sources", DEBIAN), ("n.sources", NODE), ("c.list", CLOUD), ("d.list", DOCKER)].iter().flat_map(|(n, t)| parse(n, t)).collect()
    }

    #[test]
    fn third_parties_do_not_leak_in() {
        let found = of_release(&machine(), "bookworm", Some("bookworm"), &[]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(found[0].components, ["main"]);
        assert_eq!(found[1].suites, ["bookworm-security"]);
        assert_eq!(found[1].signed_by.as_deref(), Some("/k.gpg"));
    }

    #[test]
    fn another_release_is_asked_of_the_same_mirrors() {
        let found = of_release(&machine(), "trixie", Some("bookworm"), &[]);
        assert_eq!(found[0].suites, ["trixie", "trixie-updates"]);
        assert_eq!(found[1].suites, ["trixie-security"]);
    }

    /// Half of a release in the machine's files is no reason to leave its security fixes out.
    #[test]
    fn pockets_that_the_machine_does_not_name_are_asked_of_its_mirror() {
        let mut all = machine();
        all.extend(parse("t.list", "deb [signed-by=/k.gpg] http://deb.debian.org/debian trixie main\n"));
        let found = of_release(&all, "trixie", Some("bookworm"), &[]);
        let suites: Vec<&str> = found.iter().flat_map(|s| s.suites.iter().map(String::as_str)).collect();
        assert_eq!(suites, ["trixie", "trixie-updates", "trixie-security"]);
        assert_eq!(found[2].uris, ["http://deb.debian.org/debian-security"]);
        // Another mirror may not have them: it is taken as it is written.
        let mut all = machine();
        all.extend(parse("t.list", "deb http://elsewhere/debian trixie main\n"));
        assert_eq!(of_release(&all, "trixie", Some("bookworm"), &[]).len(), 1);
    }

    /// Ubuntu's archive: all pockets on one host, what is not supported throughout in a component of its own.
    #[test]
    fn another_distribution_is_its_own_sources_and_the_components_asked_for() {
        let text = "Types: deb\nURIs: http://u/ubuntu\nSuites: noble noble-updates noble-backports noble-proposed\nComponents: main universe\nSigned-By: /u.gpg\n\nTypes: deb\nURIs: http://u/ubuntu\nSuites: noble-security\nComponents: main universe\nSigned-By: /u.gpg\n";
        let mut all = machine();
        all.extend(parse("u.sources", text));
        let found = of_release(&all, "noble", Some("bookworm"), &["main".to_string(), "universe".to_string()]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (&found[0].suites[..], &found[0].components[..]),
            (&["noble".to_string(), "noble-updates".into()][..], &["main".to_string(), "universe".into()][..])
        );
        assert_eq!(found[1].suites, ["noble-security"]);
        assert!(found.iter().all(|s| s.uris == ["http://u/ubuntu"] && s.signed_by.as_deref() == Some("/u.gpg")));
        assert_eq!(of_release(&all, "noble", None, &[])[0].components, ["main"]);
    }

    #[test]
    fn further_suites_come_from_the_release_s_own_mirror() {
        let found = with_suites(
            of_release(&machine(), "bookworm", None, &[]),
            "bookworm",
            &["bookworm-backports".to_string(), "bookworm".to_string()],
        );
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates", "bookworm-backports"]);
        assert_eq!(found[1].suites, ["bookworm-security"]);
    }

    #[test]
    fn one_line_form_with_options() {
        let all = parse(
            "x.list",
            "# no\ndeb-src http://a/ bookworm main\ndeb [ check-valid-until=no signed-by=/a,/b ] http://a/ bookworm main contrib # why\ndebris\n",
        );
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].signed_by.as_deref(), Some("/a /b"));
        assert_eq!(all[0].options, [("Check-Valid-Until".to_string(), "no".to_string())]);
    }

    #[test]
    fn who_is_believed_without_a_signature() {
        let of = |name: &str, text: &str, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            unsigned(&parse(name, text), &allowed).map(str::to_string)
        };
        let stanza = |value: &str| format!("Types: deb\nURIs: http://a/d http://b/d/\nSuites: x\nComponents: main\ntrusted: {value}\n");
        for (value, first) in
            [("yes", Some("http://a/d")), ("True", Some("http://a/d")), ("", Some("http://a/d")), ("no", None), ("off", None)]
        {
            assert_eq!(of("x.sources", &stanza(value), &[]).as_deref(), first, "{value}");
        }
        assert_eq!(of("x.sources", &stanza("yes"), &["http://a/d/"]).as_deref(), Some("http://b/d/"));
        assert_eq!(of("x.sources", &stanza("yes"), &["http://a/d", "http://b/d"]), None);
        for line in ["deb [trusted=yes] http://a/ x main", "deb [ arch=amd64 trusted=1 ] http://a/ x main"] {
            assert_eq!(of("x.list", line, &[]).as_deref(), Some("http://a/"));
        }
        // Options that would open it too do not get through at all.
        for line in ["deb [allow-insecure=yes] http://a/ x main", "deb [trusted+=yes] http://a/ x main", "deb http://a/ x main"] {
            let all = parse("x.list", line);
            assert!(unsigned(&all, &[]).is_none() && !render(&all).contains("yes"), "{line}");
        }
    }

    #[test]
    fn what_is_rendered_reads_the_same() {
        let all = of_release(&machine(), "bookworm", None, &[]);
        assert_eq!(parse("x.sources", &render(&all)), all);
    }

    #[test]
    fn disabled_and_broken_stanzas_are_left_out() {
        assert!(parse("x.sources", "Types: deb\nEnabled: no\nURIs: http://a/\nSuites: bookworm\nComponents: main\n").is_empty());
        assert!(parse("x.sources", ":::\n\u{0}garbage\n \n indented first").is_empty());
    }
}
