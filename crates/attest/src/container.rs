//! Who says which container image an object was made from: an in-toto statement with SLSA provenance, signed as that of a baked image is,
//! with a bill of the packages that the image's own database names. What is in a container image besides, nobody here knows.

use crate::keys::Key;
use crate::statement;
use disk::files;
use model::{Container, Digest, Fault, Reference};
use serde_json::{Value, json};
use store::manifest::{Manifest, Package};
use store::{Store, to_json};

/// Writes bill, provenance and signature of a container image that is in the store.
pub fn attest_container(store: &Store, manifest: &Manifest, key: &Key) -> Result<(), Fault> {
    let Some(container) = &manifest.container else {
        return Err(Fault::ours("no-container", format!("image {} is no container image", manifest.digest.short())));
    };
    store.verify(&manifest.digest)?;
    let sbom = to_json(&sbom(manifest, container));
    let statement = provenance(manifest, container, &files::digest_of(&sbom));
    statement::seal(&store.attested(&manifest.digest), &sbom, &statement, key)
}

/// Signs an image of the store, whichever it is.
pub fn attest_image(store: &Store, manifest: &Manifest, key: &Key) -> Result<(), Fault> {
    if manifest.container.is_some() {
        attest_container(store, manifest, key)
    } else {
        statement::attest(store, &store.lock_of(&manifest.digest)?, manifest, key)
    }
}

fn sbom(manifest: &Manifest, container: &Container) -> Value {
    let name = container.distribution.as_ref().map_or(&manifest.name, |one| &one.id);
    let property = |name: &str, value: &str| json!({ "name": format!("afresh:{name}"), "value": value });
    let notes = manifest.notes.iter().map(|note| property("note", note));
    let mut bill = statement::bill(&manifest.digest, name, manifest.packages.iter().map(|p| component(p, container)).collect());
    let of = [property("reference", &container.reference), property("manifest", container.manifest.as_str())];
    bill["metadata"]["properties"] = json!(of.into_iter().chain(notes).collect::<Vec<_>>());
    bill
}

fn component(p: &Package, container: &Container) -> Value {
    let distribution = container.distribution.as_ref();
    let (id, version) = distribution.map_or(("unknown", None), |one| (one.id.as_str(), one.version.as_deref()));
    let kind = if matches!(id, "alpine" | "wolfi" | "chainguard") { "apk" } else { "deb" };
    let e = statement::escaped;
    let distro = version.map_or(String::new(), |version| format!("&distro={}", e(version)));
    json!({
        "type": "library",
        "bom-ref": format!("{}@{}", p.name, p.version),
        "name": p.name,
        "version": p.version,
        "purl": format!("pkg:{kind}/{}/{}@{}?arch={}{distro}", e(id), e(&p.name), e(&p.version), e(&p.arch)),
        "properties": [{ "name": "afresh:source", "value": p.source.as_deref().unwrap_or(&p.name) }],
    })
}

fn provenance(manifest: &Manifest, container: &Container, sbom: &Digest) -> Value {
    let sha256 = |digest: &Digest| json!({ "sha256": digest.hex() });
    let mut materials = vec![json!({ "uri": uri(container), "name": "manifest", "digest": sha256(&container.manifest) })];
    if container.top != container.manifest {
        materials.push(json!({ "name": "index", "digest": sha256(&container.top) }));
    }
    materials.extend(container.layers.iter().map(|layer| json!({ "name": "layer", "digest": sha256(layer) })));
    let mut run = statement::run_details("image", manifest.inputs.as_str(), manifest.made);
    run["byproducts"] = statement::bill_made(sbom);
    let built = json!({
        "buildType": statement::PULLED,
        "externalParameters": { "reference": container.reference },
        "internalParameters": { "tools": manifest.tools, "notes": manifest.notes },
        "resolvedDependencies": materials,
    });
    statement::slsa(json!([{ "name": manifest.name, "digest": sha256(&manifest.digest) }]), built, run)
}

/// Pinned: whoever follows it gets these bytes or none.
fn uri(container: &Container) -> String {
    match container.reference.parse::<Reference>() {
        Ok(of) if !container.reference.starts_with("oci") => format!("docker://{}/{}@{}", of.registry, of.repository, container.manifest),
        _ => container.reference.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an image calls a package is the name of a package, and neither another version nor a qualifier.
    #[test]
    fn a_package_url_has_the_parts_that_the_package_has() {
        let container = Container {
            reference: "r.example/x:1".into(),
            manifest: Digest::of(b"m"),
            top: Digest::of(b"m"),
            layers: Vec::new(),
            defaults: model::ContainerDefaults::default(),
            distribution: Some(model::Distribution { id: "debian".into(), version: Some("12&a=b".into()) }),
            created: None,
        };
        let package = Package { name: "openssl@3.9?x=#/y".into(), version: "1:2+3~4%".into(), arch: "all&os=x".into(), source: None };
        assert_eq!(
            component(&package, &container)["purl"],
            "pkg:deb/debian/openssl%403.9%3Fx%3D%23%2Fy@1%3A2%2B3~4%25?arch=all%26os%3Dx&distro=12%26a%3Db"
        );
    }
}
