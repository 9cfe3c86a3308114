//! One file for each verb or family: its flags, its help, and what it does with the API's answers.

pub mod bake;
pub mod completions;
pub mod demo;
pub mod deploy;
pub mod doctor;
pub mod down;
pub mod events;
pub mod explain;
pub mod file;
mod follow;
pub mod gc;
pub mod image;
mod image_diff;
pub mod lists;
pub mod load;
pub mod logs;
pub mod roles;
pub mod rollback;
pub mod rotation;
pub mod sim;
pub mod status;
pub mod step;
mod step_hand;
pub mod up;
