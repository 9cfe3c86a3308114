//! Options that every verb takes.

use clap::Args;
use std::path::PathBuf;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Read this service file
    #[arg(long, global = true, value_name = "FILE", default_value = "afresh.hcl")]
    pub file: PathBuf,
    /// Use this data directory of this machine: images, journals, declarations
    #[arg(long, global = true, value_name = "DIR", env = "AFRESH_DATA_DIR", hide_env_values = true, default_value = "/var/lib/afresh")]
    pub data_dir: PathBuf,
    /// Call this control plane instead of the one of the data directory
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT|SOCKET",
        env = "AFRESH_HOST",
        hide_env_values = true,
        alias = "api",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub host: Option<String>,
    /// Read the token for the control plane from this file (or AFRESH_TOKEN_FILE, or the token itself in AFRESH_TOKEN)
    // The environment is read where the token is: `up` and `serve` have a flag of this name, and must not take a client's token for theirs.
    #[arg(long, global = true, value_name = "FILE", alias = "api-token")]
    pub token_file: Option<PathBuf>,
    /// Record why you do this in the journal and the audit
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no colours (NO_COLOR does the same)
    #[arg(long, global = true)]
    pub no_color: bool,
}
