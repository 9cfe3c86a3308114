//! The fixed limits of the balancer. Those that follow from the open files allowed to the process are in `descriptors`.

/// Of all headers of a request together.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of a request.
pub const REQUEST_HEADERS_MAX: usize = 200;
/// Headers of a response.
pub const RESPONSE_HEADERS_MAX: usize = 256;
/// A request body up to this size is read whole before the request is sent, so that it can be sent again.
pub const REPLAYABLE_BODY_BYTES_MAX: u64 = 64 << 10;
/// Idle connections to one target; further ones are closed.
pub const IDLE_PER_TARGET_MAX: usize = 1_024;
