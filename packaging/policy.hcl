# What root of this host keeps for itself. It binds every caller of the API but the administrator, and is read at each use.
# As it stands here nothing is set, and the defaults hold: `afresh policy show`. Keys: `man afresh-policy`, REFERENCE.md.
# After a change: `afresh policy check`.

# Where routes may listen.
# listen = ["*:1024-65535"]

# Who may run commands beside the services that they may deploy, and look inside servers.
# run  = ["peer:deploy"]
# exec = true

# Ports of this host that services may open by `allow = ["host:5432"]`.
# host_ports = ["5432", "6379"]

# A registry that new recipes of others may pull container images from, and the file with its password.
# registry "registry.example.org/shop" {
#   auth = "/etc/afresh/registry.json"
# }

# A directory of this host that services may have as a volume.
# volume "/srv/uploads" {
#   services = ["shop"]
# }
