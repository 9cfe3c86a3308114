image "base" { debian = "bookworm" packages = [] }
secret "db" {
  file = "/etc/shop/db-url"
  command = ["pass", "show", "db"]
}
secret "key" { age = "secrets/" }
secret "bad" { command = "pass show db" }
secret "Bad Name" { file = "" }
