//! The names on disk. The keeper answers `NAME.internal` by them, and finds who a rule of the host policy means. They are written after the
//! journal, so what they have and the journal does not was lost with it: a name that running programs use is not given up, nor given to
//! another service.

use crate::app::App;
use journal::Tx;
use model::{Fault, Named, Names, ServiceName};
use std::path::Path;
use std::sync::PoisonError;

const BYTES_MAX: u64 = 4 << 20;
const BY: &str = "service-names.json";

/// `Err`: it is damaged.
pub fn read(path: &Path) -> Result<Names, Fault> {
    let decode = |bytes: &[u8]| serde_json::from_slice::<Names>(bytes).map_err(|e| format!("{}: {e}", path.display()));
    match disk::state::read(path, BYTES_MAX, decode) {
        disk::state::Found::Good(good) => Ok(good.value),
        disk::state::Found::Absent => Ok(Names::default()),
        disk::state::Found::Damaged(why) => Err(Fault::world("names-damaged", why).hint("the control plane writes it again").again(false)),
    }
}

/// Those of the journal, and those that the file alone has of services that the journal does not know: they stay until somebody adopts these.
pub fn all(app: &App) -> Result<Names, Fault> {
    let (mut names, services) = app.database.browse(|r| Ok((r.names()?, r.service_names()?)))?;
    let found = read(&app.layout.service_names()).unwrap_or_default();
    for (name, named) in found.rows().filter(|(name, named)| !services.contains(&named.service) && !services.contains(name)) {
        names.add(name.clone(), named.clone());
    }
    Ok(names)
}

/// Names of services that the journal has and the file alone names, such as after an older backup was put back.
fn absorb(app: &App) -> Result<(), Fault> {
    let found = read(&app.layout.service_names()).unwrap_or_default();
    let (known, services) = app.database.browse(|r| Ok((r.names()?, r.service_names()?)))?;
    let lost: Vec<&ServiceName> =
        services.iter().filter(|service| found.others_of(service).any(|name| known.get(name).is_none())).collect();
    if lost.is_empty() {
        return Ok(());
    }
    app.database.write(|tx| lost.iter().try_for_each(|service| take(tx, app, &found, service)))
}

/// As [`absorb`], of a service whose groups are taken over, in the transaction that gives it to the journal: whoever writes the file after
/// that finds its names in one of the two.
pub fn adopt(tx: &Tx<'_>, app: &App, service: &ServiceName) -> Result<(), Fault> {
    take(tx, app, &read(&app.layout.service_names()).unwrap_or_default(), service)
}

fn take(tx: &Tx<'_>, app: &App, found: &Names, service: &ServiceName) -> Result<(), Fault> {
    let known = tx.names()?;
    let has_name = known.name_of(service) != service;
    for (name, named) in found.rows().filter(|(name, named)| named.service == *service && known.get(name).is_none()) {
        // It was given to another service since.
        if tx.service(name)?.is_some() {
            continue;
        }
        let current = named.current && !has_name;
        tracing::warn!(%service, %name, current, "the journal had lost this name of the service; {BY} still has it");
        tx.put_name(name, &Named { service: service.clone(), current }, BY, app.now())?;
    }
    Ok(())
}

/// Writes what differs.
pub fn publish(app: &App) -> Result<(), Fault> {
    let (path, names) = (app.layout.service_names(), all(app)?);
    if read(&path).is_ok_and(|found| found == names) {
        return Ok(());
    }
    let bytes = serde_json::to_vec_pretty(&names).map_err(|e| Fault::ours("unwritable", e.to_string()))?;
    disk::state::write(&path, &bytes, 0o600, disk::Lasting::Now).map_err(|e| crate::files::io_fault(&path, &e))
}

/// As [`publish`], where nobody waits for it. What fails is tried again within a minute.
pub fn keep_published(app: &App) {
    let _alone = app.publishing.lock().unwrap_or_else(PoisonError::into_inner);
    let published = absorb(app).and_then(|()| publish(app));
    app.parts.attempted("names", published.err().map(|fault| fault.message));
}
