image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  count = 1
  job "j0" { schedule = "daily"  run = ["./j"] }
  job "j1" { schedule = "daily"  run = ["./j"] }
  job "j2" { schedule = "daily"  run = ["./j"] }
  job "j3" { schedule = "daily"  run = ["./j"] }
  job "j4" { schedule = "daily"  run = ["./j"] }
  job "j5" { schedule = "daily"  run = ["./j"] }
  job "j6" { schedule = "daily"  run = ["./j"] }
  job "j7" { schedule = "daily"  run = ["./j"] }
  job "j8" { schedule = "daily"  run = ["./j"] }
  job "j9" { schedule = "daily"  run = ["./j"] }
  job "j10" { schedule = "daily"  run = ["./j"] }
  job "j11" { schedule = "daily"  run = ["./j"] }
  job "j12" { schedule = "daily"  run = ["./j"] }
  job "j13" { schedule = "daily"  run = ["./j"] }
  job "j14" { schedule = "daily"  run = ["./j"] }
  job "j15" { schedule = "daily"  run = ["./j"] }
  job "j16" { schedule = "daily"  run = ["./j"] }
  job "j17" { schedule = "daily"  run = ["./j"] }
  job "j18" { schedule = "daily"  run = ["./j"] }
  job "j19" { schedule = "daily"  run = ["./j"] }
  job "j20" { schedule = "daily"  run = ["./j"] }
  job "j21" { schedule = "daily"  run = ["./j"] }
  job "j22" { schedule = "daily"  run = ["./j"] }
  job "j23" { schedule = "daily"  run = ["./j"] }
  job "j24" { schedule = "daily"  run = ["./j"] }
  job "j25" { schedule = "daily"  run = ["./j"] }
  job "j26" { schedule = "daily"  run = ["./j"] }
  job "j27" { schedule = "daily"  run = ["./j"] }
  job "j28" { schedule = "daily"  run = ["./j"] }
  job "j29" { schedule = "daily"  run = ["./j"] }
  job "j30" { schedule = "daily"  run = ["./j"] }
  job "j31" { schedule = "daily"  run = ["./j"] }
  job "j32" { schedule = "daily"  run = ["./j"] }
  job "j33" { schedule = "daily"  run = ["./j"] }
  job "j34" { schedule = "daily"  run = ["./j"] }
  job "j35" { schedule = "daily"  run = ["./j"] }
  job "j36" { schedule = "daily"  run = ["./j"] }
  job "j37" { schedule = "daily"  run = ["./j"] }
  job "j38" { schedule = "daily"  run = ["./j"] }
  job "j39" { schedule = "daily"  run = ["./j"] }
  job "j40" { schedule = "daily"  run = ["./j"] }
  job "j41" { schedule = "daily"  run = ["./j"] }
  job "j42" { schedule = "daily"  run = ["./j"] }
  job "j43" { schedule = "daily"  run = ["./j"] }
  job "j44" { schedule = "daily"  run = ["./j"] }
  job "j45" { schedule = "daily"  run = ["./j"] }
  job "j46" { schedule = "daily"  run = ["./j"] }
  job "j47" { schedule = "daily"  run = ["./j"] }
  job "j48" { schedule = "daily"  run = ["./j"] }
  job "j49" { schedule = "daily"  run = ["./j"] }
  job "j50" { schedule = "daily"  run = ["./j"] }
}
