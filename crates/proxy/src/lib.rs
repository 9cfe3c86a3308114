//! The load balancer: hyper on both sides, balance between.
