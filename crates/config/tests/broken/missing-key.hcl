image "base" {
}

service "web" {
}

rollout {}
