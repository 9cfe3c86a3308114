//! Closing a rotation: its row, and the summary of its service.

use crate::records::{Tx, int};
use crate::rotations::{Origin, RotationRow, no_rotation, rotation_sum};
use model::{Event, Fault, Fence, Opened, RotationId};

impl Tx<'_> {
    /// After the `Closed` event was written at `seq`.
    pub(crate) fn close_rotation(&self, mut row: RotationRow, seq: u64) -> Result<(), Fault> {
        row.closed_seq = Some(seq);
        self.run("UPDATE rotations SET closed_seq = ?2, sum = ?3 WHERE id = ?1", &[&row.id.as_str(), &int(seq), &rotation_sum(&row)])?;
        self.update_summary(&row.service, &row)
    }

    /// A rotation that is closed as it is opened, under the service's fence: it records what was found, and nothing is driven.
    pub fn put_closed(&self, origin: &Origin<'_>, opened: Opened, closed: &Event) -> Result<RotationId, Fault> {
        let id = self.open_rotation(origin, |_, _| Ok(opened))?;
        let fence = self.lease(origin.service)?.map_or(Fence(0), |l| l.fence);
        self.put_line(&id, 1, origin.at, fence, closed)?;
        let Some(row) = self.rotation(&id)? else { return Err(no_rotation(&id)) };
        self.close_rotation(row, 1)?;
        Ok(id)
    }
}
