image "a" { debian = "sid"  packages = ["ca-certificates"] }
service "s" { tier = "t"  image = image.a  run = ["x"]  count = 1 }
