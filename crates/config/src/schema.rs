//! Every block and key there is, in the order they are best written. The decoder knows no other; REFERENCE.md explains each.

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `key = value`
    Value,
    /// `word { ... }`, once.
    Block,
    /// `word "name" { ... }`, once for each name.
    Named,
    /// `word { ... }` or `word = { ... }`.
    Either,
    /// `word { ... }`, as often as needed.
    Repeated,
}

/// A key or block within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// A value somebody could write; shown where it is missing.
    pub example: &'static str,
}

/// One sort of block, with all that can stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its word; the file itself is `the file`.
    pub block: &'static str,
    /// In writing order.
    pub keys: &'static [Key],
}

const fn value(name: &'static str, example: &'static str) -> Key {
    Key { name, kind: Kind::Value, example }
}

const fn block(name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { name, kind, example }
}

pub(crate) const FILE: Shape = Shape {
    block: "the file",
    keys: &[
        block("image", Kind::Named, "image \"base\" { ... }"),
        block("secret", Kind::Named, "secret \"db\" { file = \"/etc/shop/db-url\" }"),
        block("service", Kind::Named, "service \"web\" { ... }"),
        block("rollout", Kind::Block, "rollout { tiers = [\"background\", \"web\"] }"),
        block("moved", Kind::Repeated, "moved { from = service.web  to = service.shop }"),
    ],
};

pub(crate) const IMAGE: Shape = Shape {
    block: "image",
    keys: &[
        value("oci", "oci = \"registry.example.org/shop/app:1.4\""),
        block("registry", Kind::Block, "registry { auth = \"/etc/afresh/registry.json\" }"),
        value("debian", "debian = \"bookworm\""),
        value("base", "base = image.base"),
        value("suites", "suites = [\"bookworm-backports\"]"),
        value("components", "components = [\"main\"]"),
        value("allow_unsigned", "allow_unsigned = [\"http://mirror.example/debian\"]"),
        value("packages", "packages = [\"ca-certificates\"]"),
        value("rebuild", "rebuild = \"daily\""),
        value("max_age", "max_age = \"7d\""),
        value("window", "window = \"02:00-05:00\""),
        value("jitter", "jitter = \"1h\""),
        block("user", Kind::Named, "user \"shop\" { uid = 1000 }"),
        block("file", Kind::Named, "file \"/etc/motd\" { content = \"hello\\n\" }"),
        block("args", Kind::Either, "args = { CHANNEL = \"stable\" }"),
        value("script", "script = \"ln -s /srv/shop /shop\""),
        block("check", Kind::Named, "check \"python\" { run = [\"python3\", \"--version\"] }"),
    ],
};

pub(crate) const REGISTRY: Shape = Shape {
    block: "registry of an image",
    keys: &[
        value("auth", "auth = \"/etc/afresh/registry.json\""),
        value("ca", "ca = \"/etc/afresh/registry-ca.pem\""),
        value("plain_http", "plain_http = true"),
    ],
};

pub(crate) const IMAGE_USER: Shape = Shape {
    block: "user of an image",
    keys: &[
        value("uid", "uid = 1000"),
        value("home", "home = \"/srv/shop\""),
        value("shell", "shell = \"/bin/sh\""),
        value("groups", "groups = [\"www-data\"]"),
    ],
};

pub(crate) const IMAGE_FILE: Shape =
    Shape { block: "file of an image", keys: &[value("content", "content = \"hello\\n\""), value("mode", "mode = \"0644\"")] };

pub(crate) const IMAGE_CHECK: Shape = Shape {
    block: "check of an image",
    keys: &[
        value("run", "run = [\"python3\", \"--version\"]"),
        value("port", "port = 22"),
        value("file", "file = \"/usr/bin/python3\""),
        value("absent", "absent = \"/usr/bin/gcc\""),
        value("within", "within = \"1m\""),
    ],
};

pub(crate) const SECRET: Shape = Shape {
    block: "secret",
    keys: &[
        value("file", "file = \"/etc/shop/db-url\""),
        value("command", "command = [\"pass\", \"show\", \"db\"]"),
        value("age", "age = \"secrets/db.age\""),
    ],
};

pub(crate) const SERVICE: Shape = Shape {
    block: "service",
    keys: &[
        value("tier", "tier = \"web\""),
        value("image", "image = image.base"),
        value("artifact", "artifact = \"./dist\""),
        value("run", "run = [\"python3\", \"web.py\"]"),
        block("env", Kind::Either, "env { LOG = \"info\" }"),
        value("secrets", "secrets = [secret.db]"),
        value("user", "user = \"1000:1000\""),
        value("port", "port = 8080"),
        value("count", "count = 2"),
        value("exclusive", "exclusive = true"),
        block("health", Kind::Block, "health { path = \"/healthz\" }"),
        block("drain", Kind::Block, "drain { within = \"30s\" }"),
        block("limits", Kind::Block, "limits { memory = \"256MiB\" }"),
        block("volume", Kind::Named, "volume \"uploads\" { source = \"/srv/uploads\"  at = \"/uploads\" }"),
        block("network", Kind::Block, "network { egress = [\"10.0.0.0/8:5432\"] }"),
        block("route", Kind::Block, "route { listen = \":8080\" }"),
        block("check", Kind::Named, "check \"schema\" { run = [\"./check\"]  within = \"1m\" }"),
        block("migrate", Kind::Block, "migrate { run = [\"./migrate\"]  within = \"10m\" }"),
        block("job", Kind::Named, "job \"nightly\" { schedule = \"0 3 * * *\"  run = [\"./report\"] }"),
        block("rollout", Kind::Block, "rollout { waves = [\"1\", \"100%\"] }"),
    ],
};

pub(crate) const HEALTH: Shape = Shape {
    block: "health",
    keys: &[
        value("path", "path = \"/healthz\""),
        value("exec", "exec = [\"./alive\"]"),
        value("tcp", "tcp = true"),
        value("every", "every = \"1s\""),
        value("timeout", "timeout = \"1s\""),
        value("healthy_for", "healthy_for = \"3s\""),
        value("unhealthy_after", "unhealthy_after = 3"),
    ],
};

pub(crate) const DRAIN: Shape =
    Shape { block: "drain", keys: &[value("signal", "signal = \"TERM\""), value("within", "within = \"30s\"")] };

pub(crate) const LIMITS: Shape = Shape {
    block: "limits",
    keys: &[
        value("memory", "memory = \"256MiB\""),
        value("cpu", "cpu = 1"),
        value("pids", "pids = 256"),
        value("scratch", "scratch = \"64MiB\""),
    ],
};

pub(crate) const VOLUME: Shape = Shape {
    block: "volume",
    keys: &[value("source", "source = \"/srv/uploads\""), value("at", "at = \"/uploads\""), value("read_only", "read_only = true")],
};

pub(crate) const NETWORK: Shape = Shape {
    block: "network",
    keys: &[value("egress", "egress = [\"10.0.0.0/8:5432\"]"), value("allow", "allow = [\"host:6379\", service.worker]")],
};

pub(crate) const ROUTE: Shape = Shape {
    block: "route",
    keys: &[
        value("listen", "listen = \":8080\""),
        value("internal", "internal = true"),
        value("port", "port = 8080"),
        value("connect_timeout", "connect_timeout = \"1s\""),
        value("answer_timeout", "answer_timeout = \"30s\""),
    ],
};

pub(crate) const CHECK: Shape = Shape { block: "check", keys: &[value("run", "run = [\"./check\"]"), value("within", "within = \"1m\"")] };

pub(crate) const MIGRATE: Shape =
    Shape { block: "migrate", keys: &[value("run", "run = [\"./migrate\"]"), value("within", "within = \"10m\"")] };

pub(crate) const JOB: Shape = Shape {
    block: "job",
    keys: &[
        value("schedule", "schedule = \"0 3 * * *\""),
        value("timezone", "timezone = \"Europe/Berlin\""),
        value("run", "run = [\"./report\"]"),
        value("overlap", "overlap = \"forbid\""),
        value("deadline", "deadline = \"1h\""),
        value("within", "within = \"1h\""),
        value("retries", "retries = 2"),
    ],
};

pub(crate) const WAVES: Shape = Shape {
    block: "rollout of a service",
    keys: &[
        value("waves", "waves = [\"1\", \"50%\", \"100%\"]"),
        value("soak", "soak = \"10s\""),
        value("errors", "errors = \"1%\""),
        value("min_requests", "min_requests = 100"),
        value("few_requests", "few_requests = \"wait\""),
        value("within", "within = \"5m\""),
        value("freeze", "freeze = [\"Fri 18:00-Mon 06:00\"]"),
    ],
};

pub(crate) const MOVED: Shape = Shape { block: "moved", keys: &[value("from", "from = service.web"), value("to", "to = service.shop")] };

pub(crate) const TIERS: Shape = Shape { block: "rollout of the file", keys: &[value("tiers", "tiers = [\"background\", \"web\"]")] };

/// All of them.
pub const SHAPES: &[Shape] = &[
    FILE,
    IMAGE,
    REGISTRY,
    IMAGE_USER,
    IMAGE_FILE,
    IMAGE_CHECK,
    SECRET,
    SERVICE,
    HEALTH,
    DRAIN,
    LIMITS,
    VOLUME,
    NETWORK,
    ROUTE,
    CHECK,
    MIGRATE,
    JOB,
    WAVES,
    TIERS,
    MOVED,
];
