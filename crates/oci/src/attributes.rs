//! Which extended attributes of an image are kept. Pure.
//!
//! Kept are those that say something of the file and mean the same everywhere: `security.capability`, and `user.*`. All others are left out:
//! `trusted.overlay.*` and `user.overlay.*` are commands to the overlay that we mount above the image (hide, redirect, take data from
//! elsewhere), `security.selinux`, `security.ima` and `security.evm` belong to the machine that made them, and `system.*` are access lists, which
//! neither Docker nor buildah puts into a layer; a file with one has the group's rights that its mode says.

pub const CAPABILITY: &[u8] = b"security.capability";

pub fn is_kept(name: &[u8]) -> bool {
    let of_user = name.strip_prefix(b"user.").is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with(b"overlay.") && !rest.starts_with(b"rootlesscontainers") && !rest.starts_with(b"containers.")
    });
    // The kernel's own limit.
    (name == CAPABILITY || of_user) && name.len() <= 255 && !name.contains(&0)
}

/// Of the kept attributes of one file. ext4 has a block for them, and says of what does not fit that the disk is full.
const BYTES_MAX: usize = 4000;
/// What ext4 writes beside each.
const COST: usize = 32;

/// What those that are kept take.
pub fn check(all: &[(Vec<u8>, Vec<u8>)]) -> Result<u64, String> {
    let kept = all.iter().filter(|(name, _)| is_kept(name));
    let bytes: usize = kept.map(|(name, value)| name.len() + value.len() + COST).sum();
    if bytes > BYTES_MAX {
        return Err(format!("the extended attributes of a file take {bytes} bytes, more than {BYTES_MAX}"));
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_the_overlay_is_left_out() {
        for kept in ["security.capability", "user.mime_type", "user.x"] {
            assert!(is_kept(kept.as_bytes()), "{kept}");
        }
        for dropped in [
            "trusted.overlay.opaque",
            "user.overlay.whiteout",
            "user.overlay.redirect",
            "security.selinux",
            "security.ima",
            "system.posix_acl_access",
            "trusted.x",
            "user.",
            "user.containers.override_stat",
            "",
        ] {
            assert!(!is_kept(dropped.as_bytes()), "{dropped}");
        }
    }
}
