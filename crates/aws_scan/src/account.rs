//! Which account the credentials belong to, and what holds for all of it.

use aws_client::xml::{self, Element};
use aws_client::{AwsError, Client, ErrorKind, Request, Service};
use guard::{Context, Fact, PublicAccessBlock, SnapshotSharing};
use model::Fault;

/// What holds for the account before anything of it is read.
pub fn context_of(client: &Client) -> Result<Context, Fault> {
    Ok(Context {
        // Asked, whatever the environment says: a containment by the number of another account would lock its own out.
        account_id: account_of(client).map_err(|e| no_account(&e))?,
        partition: aws_client::partition(client.region()).0.to_string(),
        // What the account answers of its block includes the organisation's.
        organisation_block: Fact::Known(PublicAccessBlock::default()),
        account_block: Fact::denied("s3:GetAccountPublicAccessBlock"),
        ebs_snapshot_sharing: Fact::Known(SnapshotSharing::Unblocked),
        known_accounts: None,
        now_s: Some(jiff::Timestamp::now().as_second()),
    })
}

fn account_of(client: &Client) -> Result<String, AwsError> {
    let request = Request::query(Service::Sts, client.region(), "sts:GetCallerIdentity", &[]);
    let body = client.send(&request, "")?;
    xml::read(request.action, &body, "GetCallerIdentity", |root| {
        let account = root.child("GetCallerIdentityResult")?.text_at("Account")?;
        (account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())).then(|| account.to_string())
    })
}

fn no_account(error: &AwsError) -> Fault {
    let message = format!("AWS does not say which account this is: {error}");
    match error.kind {
        ErrorKind::Credentials | ErrorKind::Denied => AwsError::refused(message),
        _ => Fault::world("aws-unreachable", message).hint("is the endpoint right, and is the network reached from here?"),
    }
}
