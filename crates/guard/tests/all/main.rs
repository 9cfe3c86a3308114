//! Tests of the crate from outside, against answers that are not computed by it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod access_points;
mod aws_tables;
mod brute_force;
mod contain;
mod estate;
mod gate;
mod golden;
mod incident;
mod network;
mod random;
mod reports;
mod root;
mod root_kinds;
mod root_listeners;
mod root_packages;
mod root_tree;
mod secrets;
mod service_facts;
mod terraform;
mod terraform_account;
mod terraform_limits;
mod terraform_network;
mod terraform_plan;
mod terraform_s3;
mod verdicts;
