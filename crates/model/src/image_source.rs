//! Where a container image is: in a registry, in an OCI layout or in an archive of one. Pure: nothing is looked up.

use crate::{Digest, Fault};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    Registry(Reference),
    /// A directory, and the name of an image in it.
    Layout(PathBuf, Option<String>),
    /// A tar archive of a layout.
    Archive(PathBuf, Option<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `registry.example.org`, `localhost:5000`, `[::1]:5000`.
    pub registry: String,
    pub repository: String,
    pub tag: String,
    /// Of the manifest or index, if it is pinned.
    pub digest: Option<Digest>,
}

impl Reference {
    /// What is asked for: a digest is more than a tag.
    pub fn version(&self) -> &str {
        self.digest.as_ref().map_or(&self.tag, Digest::as_str)
    }

    /// Without a port.
    pub fn host(&self) -> &str {
        host_of(&self.registry)
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }
}

/// `[::1]:5000` is `::1`.
pub fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

pub fn is_loopback(host: &str) -> bool {
    // The system asks a name server for other names in `localhost`.
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Text of a stranger, as an error shows it.
fn shown_text(text: &str) -> String {
    crate::text::shown(text, 200)
}

fn refused(text: &str, why: &str) -> Fault {
    Fault::yours("bad-reference", format!("{:?} names no image: {why}", shown_text(text)))
        .hint("write registry.example.org/shop/app:1.4, oci-archive:FILE or oci:DIRECTORY")
}

impl std::str::FromStr for ImageSource {
    type Err = Fault;

    fn from_str(text: &str) -> Result<ImageSource, Fault> {
        let local = |rest: &str| {
            // As skopeo writes it: `oci:DIR:NAME`. A name has no slash.
            let (path, name) = rest.rsplit_once(':').filter(|(_, name)| !name.contains('/')).map_or((rest, None), |(p, n)| (p, Some(n)));
            if path.is_empty() || name == Some("") {
                return Err(refused(text, "there is no path in it"));
            }
            Ok((PathBuf::from(path), name.map(str::to_string)))
        };
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return local(rest).map(|(path, name)| ImageSource::Archive(path, name));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return local(rest).map(|(path, name)| ImageSource::Layout(path, name));
        }
        text.parse().map(ImageSource::Registry)
    }
}

/// A service's code that is no path of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactSource {
    /// `oci://registry.example.org/shop/code:1.4`
    Registry(Reference),
    /// `https://example.org/code.tar.gz sha256:...`
    Link { link: String, sum: Digest },
}

impl ArtifactSource {
    /// None: it is a path.
    pub fn of(text: &str) -> Result<Option<ArtifactSource>, Fault> {
        let wrong = |why: &str| {
            Fault::yours("bad-reference", format!("{:?} names no code: {why}", shown_text(text)))
                .hint("write oci://registry.example.org/shop/code:1.4 or https://example.org/code.tar.gz sha256:DIGITS")
        };
        if let Some(name) = text.strip_prefix("oci://") {
            return Ok(Some(ArtifactSource::Registry(name.parse()?)));
        }
        let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric())) else {
            return Ok(None);
        };
        if scheme != "https" {
            return Err(wrong("only oci:// and https:// are fetched"));
        }
        let (link, sum) = text.split_once(' ').ok_or_else(|| wrong("behind a link stands the digest of what it leads to"))?;
        let sum = Digest::new(sum.trim()).map_err(|_| wrong("behind the link stands sha256: and 64 digits"))?;
        let is_plain = link.bytes().all(|b| b.is_ascii_graphic()) && link.len() > "https://".len() && !link.contains(['@', '#', '"']);
        if !is_plain {
            return Err(wrong("the link must be plain: no blanks, no password, no fragment"));
        }
        Ok(Some(ArtifactSource::Link { link: link.to_string(), sum }))
    }
}

impl std::str::FromStr for Reference {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Reference, Fault> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        if text.len() > 500 {
            return Err(refused(text, "it is too long"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::new(digest).map_err(|_| refused(text, "after @ stands sha256: and 64 digits"))?)),
            None => (text, None),
        };
        let Some((registry, rest)) = rest.split_once('/') else {
            return Err(refused(text, "it names no registry").hint(format!("for Docker Hub write docker.io/library/{}", shown_text(rest))));
        };
        if !is_registry(registry) {
            return Err(refused(text, "it names no registry").hint(format!(
                "for Docker Hub write docker.io/{}/{}",
                shown_text(registry),
                shown_text(rest)
            )));
        }
        let (repository, tag) = rest.rsplit_once(':').map_or((rest, "latest"), |(r, t)| (r, t));
        if !repository.split('/').all(is_component) {
            return Err(refused(text, "a repository is lower-case letters, digits and . _ - between slashes"));
        }
        let is_tag = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(is_tag) || tag.starts_with(['.', '-']) {
            return Err(refused(text, "a tag is up to 128 letters, digits and . _ -"));
        }
        Ok(Reference { registry: registry.to_string(), repository: repository.to_string(), tag: tag.to_string(), digest })
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("none"))),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_named =
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) && !host.starts_with(['.', '-']);
    let is_host = if text.starts_with('[') { host.parse::<std::net::Ipv6Addr>().is_ok() } else { is_named };
    let has_dot = host.contains('.') || host == "localhost" || port.is_some() || text.starts_with('[');
    is_host && has_dot && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0))
}

fn is_component(part: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        let reference = |text: &str| text.parse::<Reference>().map(|r| (r.registry, r.repository, r.tag, r.digest));
        let is = |r: &str, p: &str, t: &str| (r.to_string(), p.to_string(), t.to_string(), None);
        assert_eq!(reference("registry.example.org/shop/app:1.4").unwrap(), is("registry.example.org", "shop/app", "1.4"));
        assert_eq!(reference("docker://localhost:5000/a").unwrap(), is("localhost:5000", "a", "latest"));
        assert_eq!(reference("[::1]:5000/a/b_c:x").unwrap(), is("[::1]:5000", "a/b_c", "x"));
        let digest = Digest::of(b"x");
        let pinned: Reference = format!("r.example/a:1@{digest}").parse().unwrap();
        assert_eq!((pinned.version(), pinned.digest.as_ref(), pinned.tag.as_str()), (digest.as_str(), Some(&digest), "1"));
        for bad in [
            "",
            "nginx",
            "library/nginx:1",
            "r.example/",
            "r.example/A",
            "r.example/../a",
            "r.example/a//b",
            "r.example/a:",
            "r.example/a:-x",
            "r.example/a@sha256:12",
            "r.example:0/a",
            "r.example:x/a",
            "r.example/a?x",
            "[::1/a",
            "u:p@r.example/a",
            "http://r.example/a",
        ] {
            assert_eq!(reference(bad).unwrap_err().code, "bad-reference", "{bad}");
        }
        for (host, is) in [
            ("127.0.0.1:5000", true),
            ("localhost", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]", true),
            ("10.0.0.1", false),
            ("127.example.org", false),
            ("x.localhost", false),
        ] {
            assert_eq!(is_loopback(host_of(host)), is, "{host}");
        }
    }

    #[test]
    fn code_from_elsewhere() {
        let sum = Digest::of(b"x");
        let link = format!("https://example.org/a.tar.gz?v=1 {sum}");
        assert_eq!(
            ArtifactSource::of(&link).unwrap(),
            Some(ArtifactSource::Link { link: "https://example.org/a.tar.gz?v=1".to_string(), sum: sum.clone() })
        );
        assert!(matches!(ArtifactSource::of("oci://r.example/shop/code:1"), Ok(Some(ArtifactSource::Registry(r))) if r.tag == "1"));
        for path in ["./dist", "/srv/code.tar.gz", "a:b", "c:/x", "dist"] {
            assert_eq!(ArtifactSource::of(path).unwrap(), None, "{path}");
        }
        for bad in [
            "https://example.org/a.tar.gz",
            "https://example.org/a.tar.gz sha256:12",
            &format!("http://example.org/a.tar.gz {sum}"),
            &format!("https://u:p@example.org/a {sum}"),
            &format!("https:// {sum}"),
            "oci://code",
            "ftp://x/y",
        ] {
            assert_eq!(ArtifactSource::of(bad).unwrap_err().code, "bad-reference", "{bad}");
        }
    }

    #[test]
    fn places_of_layouts() {
        for (text, is) in [
            ("oci:/a/b", ImageSource::Layout("/a/b".into(), None)),
            ("oci:/a/b:1.4", ImageSource::Layout("/a/b".into(), Some("1.4".into()))),
            ("oci-archive:x.tar", ImageSource::Archive("x.tar".into(), None)),
            ("oci-archive:/a:b/x.tar", ImageSource::Archive("/a:b/x.tar".into(), None)),
        ] {
            assert_eq!(text.parse::<ImageSource>().unwrap(), is);
        }
        assert!("oci:".parse::<ImageSource>().is_err() && "oci-archive::x".parse::<ImageSource>().is_err());
    }
}
