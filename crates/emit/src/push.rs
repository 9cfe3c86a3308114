//! An image into a registry: as an OCI image of one layer, with its bill of materials and its signed provenance as referrers.

use crate::oci::{Meta, oci};
use ::oci::{Options, Pushed, Referrer};
use attest::statement;
use disk::files;
use model::{Fault, Reference};
use store::{Manifest, Store};

const BILL: &str = "application/vnd.cyclonedx+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const ATTESTATION_BYTES: u64 = 64 << 20;

/// `told` hears how many bytes of all are there.
pub fn push(
    store: &Store,
    image: &Manifest,
    reference: &Reference,
    options: &Options,
    meta: &Meta,
    told: &mut dyn FnMut(u64, u64),
) -> Result<Pushed, Fault> {
    let work = store.work("push")?;
    let layout = work.path().join("layout");
    oci(&store.path(&image.digest)?, &layout, meta)?;
    let at = store.attested(&image.digest);
    let mut referrers = Vec::new();
    for (path, name, media_type) in
        [(statement::sbom_path(&at), "sbom.cdx.json", BILL), (statement::envelope_path(&at), "provenance.dsse.json", ENVELOPE)]
    {
        if files::exists(&path) {
            referrers.push(Referrer { media_type, name, bytes: files::read_limited(&path, ATTESTATION_BYTES)? });
        }
    }
    ::oci::push(&layout, reference, options, &referrers, told)
}
