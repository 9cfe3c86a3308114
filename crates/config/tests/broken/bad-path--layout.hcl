image "app" {
  oci = "oci-archive:app.tar"
}
