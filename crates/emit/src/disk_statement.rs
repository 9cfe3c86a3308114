//! Who says what of an emitted disk: its provenance and its bill of materials, signed as an image's are, in a directory beside the disk,
//! because a disk leaves this machine and its store. It must not write the disk itself.
//!
//! ```text
//! web.disk
//! web.disk.attested/provenance.dsse.json   subject: the disk; materials: image, artifact, the kit's lock and its packages; signed
//! web.disk.attested/sbom.cdx.json          the packages of image and kit; its digest stands in the provenance
//! web.disk.attested/release.json           what runs, for whoever makes the disk again: its digest stands there too.
//!                                          A file of its own, for its owner alone: provenance is passed on, and settings may be secret
//! ```

use crate::{Artifact, DiskInputs, Emitted};
use attest::Key;
use attest::statement::{self, Policy, Verified, materials};
use disk::files;

use crate::kits::{self, MachineKit, Which};
use attest::{read_policy, verify_whole};
use bake::progress::Progress;
use model::{Digest, Fault, Layout, Release};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use store::lockfile::Lock;
use store::manifest::Manifest;
use store::{Store, to_json};

const BUILD_TYPE: &str = "urn:afresh:image:disk:v1";
const LIMIT: u64 = 4 << 20;

/// Everything that went into a disk.
pub struct DiskMade<'a> {
    pub disk: &'a Path,
    pub emitted: &'a Emitted,
    /// The disk of the service's code, where that is one of its own.
    pub apart: Option<(&'a Path, &'a Emitted)>,
    pub image: &'a Manifest,
    pub artifact: Option<&'a Digest>,
    pub kit: &'a MachineKit,
    pub release: Option<&'a Release>,
    pub cmdline: &'a str,
}

/// What the attestation of a disk says, and whether what it names is as it says.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskSaid {
    pub digest: Digest,
    pub verified: Verified,
    /// None: nobody signed it, so nothing is known of it.
    pub made_of: Option<MadeOf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MadeOf {
    pub image_name: String,
    pub image: Digest,
    /// Who signed the image; None: it is not in this store, or nobody did.
    pub image_by: Option<String>,
    pub artifact: Option<Digest>,
    pub kit_lock: Digest,
    /// Whether that lock is in this store, with these packages.
    pub is_lock_here: bool,
    pub kernel: String,
    pub release: Option<String>,
    /// Packages of image and kit.
    pub components: usize,
    cmdline: String,
    release_digest: Option<Digest>,
    parts: Vec<crate::Part>,
    subjects: Vec<Digest>,
}

/// Where the attestations of a disk lie.
pub fn attested_beside(disk: &Path) -> PathBuf {
    let mut name = disk.as_os_str().to_owned();
    name.push(".attested");
    PathBuf::from(name)
}

fn named(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Writes and signs the attestations of a disk that was just made; says where.
pub fn attest_disk(store: &Store, made: &DiskMade, key: &Key) -> Result<PathBuf, Fault> {
    let (at, lock) = (attested_beside(made.disk), store.lock_of(&made.image.digest)?);
    let of = |part: &'static str, lock: &Lock| -> Vec<Value> {
        let mark = |mut c: Value| {
            // A library of the kit may be in the image too, in another version.
            c["bom-ref"] = json!(format!("{part}/{}", c["bom-ref"].as_str().unwrap_or_default()));
            if let Some(list) = c["properties"].as_array_mut() {
                list.push(json!({ "name": "afresh:part", "value": part }));
            }
            c
        };
        statement::components(lock).into_iter().map(mark).collect()
    };
    let mut components = of("image", &lock);
    components.extend(of("kit", &made.kit.lock));
    let bill = to_json(&statement::bill(&made.emitted.digest, &named(made.disk), components));
    let release = made.release.map(to_json);
    let statement = statement(made, &lock, &files::digest_of(&bill), release.as_deref().map(files::digest_of).as_ref());
    files::make_dir(&at)?;
    let release_path = at.join("release.json");
    match &release {
        Some(text) => {
            files::write_atomic(&release_path, text)?;
            files::set_mode(&release_path, 0o600)?;
        }
        None => files::remove_file(&release_path)?,
    }
    statement::seal(&at, &bill, &statement, key)?;
    Ok(at)
}

fn statement(made: &DiskMade, lock: &Lock, bill: &Digest, release: Option<&Digest>) -> Value {
    let sum = |d: &Digest| json!({ "sha256": d.hex() });
    let mut subject = vec![json!({ "name": named(made.disk), "digest": sum(&made.emitted.digest) })];
    subject.extend(made.apart.map(|(path, emitted)| json!({ "name": named(path), "digest": sum(&emitted.digest) })));
    let kit = made.kit.lock.digest();
    let mut needs = vec![json!({ "name": format!("image {}", made.image.name), "digest": sum(&made.image.digest) })];
    needs.push(json!({ "name": "image lock", "digest": sum(&lock.digest()) }));
    needs.extend(made.artifact.map(|d| json!({ "name": "artifact", "digest": sum(d) })));
    needs.push(json!({ "name": "kit lock", "digest": sum(&kit) }));
    needs.extend(materials(&made.kit.lock));
    let asked = json!({
        "image": { "name": made.image.name, "digest": made.image.digest }, "artifact": made.artifact, "kitLock": kit,
        "release": made.release.map(Release::label), "releaseDigest": release, "commandLine": made.cmdline, "apart": made.apart.is_some(),
    });
    let mut run = statement::run_details("image", files::digest_of(asked.to_string().as_bytes()).as_str(), files::now());
    run["byproducts"] = statement::bill_made(bill);
    let built = json!({
        "buildType": BUILD_TYPE,
        "externalParameters": asked,
        "internalParameters": { "kernel": made.kit.kit.version, "parts": made.emitted.parts },
        "resolvedDependencies": needs,
    });
    statement::slsa(json!(subject), built, run)
}

fn refused(disk: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::world("signature-refused", format!("disk {} is refused: {why}", disk.display()))
        .hint("emit it again on a machine whose key this host trusts")
        .again(false)
}

/// Reads the whole disk and checks who signed for these bytes, and that what went in is as the signature says, as far as this store has it.
pub fn verify_disk(store: &Store, disk: &Path, policy: &Policy) -> Result<DiskSaid, Fault> {
    let (digest, _) = files::digest_file(disk)?;
    let opened = statement::open(&attested_beside(disk), &format!("disk {}", disk.display()), &digest, policy)?;
    let Some((key, said)) = opened else { return Ok(DiskSaid { digest, verified: Verified::Unsigned, made_of: None }) };
    let mut made = read(&said).ok_or_else(|| refused(disk, "what is signed is no statement of a disk"))?;
    let bill: Value = serde_json::from_slice(&files::read_limited(&attested_beside(disk).join("sbom.cdx.json"), LIMIT * 16)?)
        .map_err(|e| refused(disk, format!("its bill of materials is no JSON: {e}")))?;
    made.components = bill["components"].as_array().map_or(0, Vec::len);
    // The image by its own signature: who signed the disk did not make the image good.
    if store.manifest(&made.image).is_ok() {
        let by = verify_whole(store.layout(), &made.image, policy).map_err(|f| refused(disk, f.message))?;
        made.image_by = if let Verified::By(key) = by { Some(key) } else { None };
    }
    let lock = match Lock::read(&store::kit_lock_path(store, &made.kit_lock)) {
        Ok(lock) => Some(lock),
        Err(f) if f.code == "no-such-file" => None,
        Err(f) => return Err(refused(disk, format!("its kit's lock is damaged: {}", f.message))),
    };
    if let Some(lock) = lock {
        let listed: Vec<&Value> = said["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().into_iter().flatten().collect();
        let differs = lock.packages.iter().find(|p| !listed.iter().any(|m| m["name"] == p.name && m["digest"]["sha256"] == p.sha256));
        if let Some(p) = differs {
            return Err(refused(disk, format!("its kit's lock has {} {}, which was not signed for", p.name, p.version)));
        }
        made.is_lock_here = lock.digest() == made.kit_lock;
    }
    Ok(DiskSaid { digest, verified: Verified::By(key), made_of: Some(made) })
}

fn read(said: &Value) -> Option<MadeOf> {
    let build = &said["predicate"]["buildDefinition"];
    let (asked, inner) = (&build["externalParameters"], &build["internalParameters"]);
    let digest = |v: &Value| v.as_str().and_then(|d| Digest::new(d).ok());
    let text = |v: &Value| v.as_str().map(str::to_string);
    let subjects =
        said["subject"].as_array()?.iter().filter_map(|s| Digest::new(format!("sha256:{}", s["digest"]["sha256"].as_str()?)).ok());
    (build["buildType"] == BUILD_TYPE).then_some(())?;
    Some(MadeOf {
        image_name: text(&asked["image"]["name"])?,
        image: digest(&asked["image"]["digest"])?,
        image_by: None,
        artifact: digest(&asked["artifact"]),
        kit_lock: digest(&asked["kitLock"])?,
        is_lock_here: false,
        kernel: text(&inner["kernel"])?,
        release: text(&asked["release"]),
        components: 0,
        cmdline: text(&asked["commandLine"])?,
        release_digest: digest(&asked["releaseDigest"]),
        parts: serde_json::from_value(inner["parts"].clone()).ok()?,
        subjects: subjects.collect(),
    })
}

/// What a host asks of a disk, and of the disk with its code, before it boots them: as of an image.
pub fn admit_disk(layout: &Layout, disk: &Path, apart: Option<&Path>) -> Result<(), Fault> {
    let Some(policy) = read_policy(layout)? else { return Ok(()) };
    let said = verify_disk(&Store::open(layout)?, disk, &policy)?;
    if let (Some(made), Some(apart)) = (&said.made_of, apart) {
        let (digest, _) = files::digest_file(apart)?;
        if !made.subjects.contains(&digest) {
            return Err(refused(apart, format!("it is not the disk of code that was signed for with {}", disk.display())));
        }
    }
    Ok(())
}

/// Makes a disk again from its image, artifact and kit's lock, elsewhere; gives its digest and the parts that differ.
pub fn rebuild_disk(store: &Store, disk: &Path, said: &DiskSaid, tell: &mut dyn FnMut(Progress)) -> Result<(Digest, Vec<String>), Fault> {
    let made = said.made_of.as_ref().ok_or_else(|| {
        Fault::yours("not-attested", format!("nobody says what {} was made of", disk.display())).hint("emit it again: then it is attested")
    })?;
    let release = match &made.release_digest {
        None => None,
        Some(digest) => {
            let text = files::read_limited(&attested_beside(disk).join("release.json"), LIMIT)?;
            if &files::digest_of(&text) != digest {
                return Err(refused(disk, "its release.json is not the one that was signed for"));
            }
            Some(serde_json::from_slice::<Release>(&text).map_err(|e| refused(disk, format!("its release.json cannot be read: {e}")))?)
        }
    };
    let root = store.path(&made.image)?;
    let code = made.artifact.as_ref().map(|d| store.path(d)).transpose()?;
    let image = store.lock_of(&made.image)?.head.spec;
    let kit = kits::kit(store, &image, Which::Lock(made.kit_lock.as_str()), tell)?;
    let is_apart = made.subjects.len() > 1;
    let artifact = code.as_deref().map(|path| if is_apart { Artifact::Apart(path) } else { Artifact::Inside(path) });
    let inputs = DiskInputs { root_erofs: &root, kit: &kit.kit, artifact, release: release.as_ref(), cmdline_extra: &made.cmdline };
    let work = store.work("disk")?;
    let again = crate::disk(&inputs, &work.path().join("disk"))?;
    let differs = again.parts.iter().filter(|p| !made.parts.contains(p)).map(|p| p.name.clone()).collect();
    Ok((again.digest, differs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_lie_beside_the_disk_whatever_it_is_called() {
        assert_eq!(attested_beside(Path::new("/srv/web.disk")), Path::new("/srv/web.disk.attested"));
        assert_eq!(attested_beside(Path::new("web")), Path::new("web.attested"));
    }

    #[test]
    fn what_is_no_statement_of_a_disk_is_none() {
        for said in [
            json!({}),
            json!([]),
            json!({ "subject": [], "predicate": { "buildDefinition": { "buildType": "urn:afresh:image:bake:v1" } } }),
        ] {
            assert_eq!(read(&said), None);
        }
    }
}
