image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image = image["base"]
  run = [for x in ["a"] : x]
  count  = 1 + 2
  port   = 8080
  env { A = "${secret.db}"  D = "redis://:${secret.db}@host.internal"  E = "${var.x}"  B = upper("x")  C = true ? 1 : 2 }
  user = "1" + "2"
  artifact = <<END
  ${x}
  END
  
}
