//! Whom a request goes to, as its errors call it: a registry, or the server behind the link of an artifact. What is to be done differs:
//! an image of the service file can say how its registry is spoken to, and a link cannot.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    #[default]
    Registry,
    Link,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Registry => "registry",
            Peer::Link => "server",
        }
    }

    pub fn unreachable(self) -> &'static str {
        match self {
            Peer::Registry => "registry-unreachable",
            Peer::Link => "link-unreachable",
        }
    }

    /// Code and hint, as of those below.
    pub fn busy(self) -> (&'static str, &'static str) {
        match self {
            Peer::Registry => ("registry-busy", "try again later; logged in, most registries allow more"),
            Peer::Link => ("link-busy", "try again later"),
        }
    }

    pub fn untrusted(self) -> (&'static str, &'static str) {
        match self {
            Peer::Registry => (
                "registry-untrusted",
                "if its authority is your own, name its certificate: `registry { ca = \"/etc/afresh/registry-ca.pem\" }` in the image",
            ),
            Peer::Link => (
                "link-untrusted",
                "if its authority is your own, put its certificate into /usr/local/share/ca-certificates and run `update-ca-certificates`",
            ),
        }
    }

    pub fn plain(self) -> (&'static str, &'static str) {
        match self {
            Peer::Registry => (
                "registry-plain",
                "anybody on the way could read the password; if the network is your own: `registry { plain_http = true }` in the image",
            ),
            Peer::Link => ("link-plain", "an artifact's link is https: give the server a certificate, or take the file to this machine"),
        }
    }

    pub fn bad_answer(self) -> (&'static str, &'static str) {
        match self {
            Peer::Registry => ("bad-registry-answer", "ask whoever runs the registry"),
            Peer::Link => ("bad-link-answer", "ask whoever runs the server"),
        }
    }
}
