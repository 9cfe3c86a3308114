//! JSON over HTTP/1.1 on the sockets of keeper, balancer and control plane: one way to bind them, to limit their connections, to decode
//! a request, and to answer a fault. It knows no call, and decides nothing about callers.
//!
//! ```text
//! bind ─▶ accept ─▶ room: a place for the connection ─▶ router of the caller: Json, Name, Params ─▶ handler ─▶ Out or Refusal
//! ```

pub mod accept;
mod answer;
mod bind;
mod extract;
mod peer;
mod room;
mod serve;

pub use answer::{AnsweredFault, Out, Refusal, shown, with_fallbacks};
pub use bind::{tcp, unix};
pub use extract::{Json, Name, Names, Params, named};
pub use peer::Peer;
pub use room::Room;
pub use serve::{Listener, serve};
