image "app" {
  debian   = "bookworm"
  packages = []
  registry {
    auth = "/etc/afresh/registry.json"
  }
}
