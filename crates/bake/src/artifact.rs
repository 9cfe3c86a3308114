//! A service's code from a registry or behind a link: fetched once, compared with its digest, and packed as a tarball of this machine is.

use crate::progress::{Progress, Steps};
use attest::Packed;
use model::{ArtifactSource, ContainerSource, Digest, Fault};
use std::path::Path;
use store::Store;

/// `registry`: how that of `oci://` is spoken to. `text`: as the service file has it, which the artifact's provenance names.
pub fn pack_remote(
    store: &Store,
    text: &str,
    source: &ArtifactSource,
    registry: Option<&ContainerSource>,
    tell: &mut dyn FnMut(Progress),
) -> Result<Packed, Fault> {
    let mut steps = Steps::new(tell);
    match source {
        ArtifactSource::Registry(reference) => {
            steps.begin("resolve", format!("asking what {text} leads to"));
            let options = oci::Options { keys: crate::cosign_keys(store)?, ..registry.map(oci::Options::of).unwrap_or_default() };
            let mut archive = oci::Archive::resolve(reference, &options)?;
            let pinned = format!("oci://{}/{}@{}", reference.registry, reference.repository, archive.manifest);
            let sum = archive.sum().clone();
            packed(store, &pinned, &sum, &mut steps, |to, told| archive.fetch(to, &options.limits, told))
        }
        ArtifactSource::Link { link, sum } => {
            packed(store, link, sum, &mut steps, |to, told| oci::fetch_link(link, sum, &oci::Limits::default(), to, told))
        }
    }
}

fn packed(
    store: &Store,
    from: &str,
    sum: &Digest,
    steps: &mut Steps,
    fetch: impl FnOnce(&Path, &mut dyn FnMut(u64, u64)) -> Result<(), Fault>,
) -> Result<Packed, Fault> {
    if let Some(there) = attest::packed_tarball(store, sum)? {
        return Ok(there);
    }
    let work = store.work("artifact")?;
    let to = work.path().join("archive");
    steps.begin("fetch", from);
    fetch(&to, &mut |have, total| steps.at(have, total, from))?;
    steps.begin("pack", from);
    attest::pack_from(store, &to, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};

    const KEY: &str =
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEju8qC4zIFVsa/9QjUWrt9pZjKsiktLaAnKM3mTt1j+nneGpJd7fF4mQYlxCVL+N0SMeLvgjg1sqvreXU3wj25w==";

    /// An artifact that nobody signed.
    fn registry() -> std::net::SocketAddr {
        let code = disk::files::digest_of(b"code");
        let layer = serde_json::json!({ "mediaType": "application/gzip", "digest": code, "size": 4 });
        let config = serde_json::json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": code, "size": 2 });
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut asked = String::new();
                // TLS is no text.
                let is_plain = BufReader::new(&stream).read_line(&mut asked).is_ok();
                let found = asked.contains("/manifests/1 ");
                let (status, body) = if !is_plain {
                    ("400", "")
                } else if found {
                    ("200", &*manifest)
                } else {
                    ("404", "")
                };
                let _ = write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        at
    }

    #[test]
    fn code_of_a_registry_must_be_signed_as_images_must() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&model::Layout::new(dir.path().join("data"))).unwrap();
        let text = format!("oci://{}/code:1", registry());
        let pack = || pack_remote(&store, &text, &ArtifactSource::of(&text).unwrap().unwrap(), None, &mut |_| {}).map(drop).unwrap_err();
        assert_eq!(pack().code, "no-such-image", "it has no such file");
        attest::write_policy(store.layout(), &attest::Policy { cosign: vec![KEY.to_string()], ..attest::Policy::default() }).unwrap();
        assert_eq!(pack().code, "signature-refused");
    }
}
