//! Where the two processes of the balancer keep their locks and the data plane its log.

use model::Layout;
use std::path::PathBuf;

pub fn control_lock(layout: &Layout) -> PathBuf {
    layout.run().join("proxy.lock")
}

pub fn data_lock(layout: &Layout) -> PathBuf {
    layout.run().join("data.lock")
}

/// The data plane's stdout and stderr when the control side starts it.
pub fn data_log(layout: &Layout) -> PathBuf {
    layout.proxy().join("data.log")
}
