//! `seqstack status`: where the runs are and what is billed, from the ledgers and live AWS alone. Changes nothing, and
//! takes neither lock nor lease.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, join4};
use futures_util::stream;

use crate::aws::{AwsError, Class};
use crate::cli;
use crate::kinds::instance::billed::{disks, machines};
use crate::report::plan::Header;
use crate::report::status::{SCHEMA, Status, text};
use crate::run::spec::DEFAULT_SAMPLE;
use crate::run::{ledger_key, list_ledgers, status::look};

use super::session::Session;
use super::{Exit, Problem, cost, prepare, seat, session};

/// How many ledgers are read at once.
const AT_ONCE: usize = 16;

/// Shows where the runs are and what is billed.
///
/// # Errors
/// When the stack file is wrong, nobody is signed in, or something could not be read.
pub async fn run(args: &cli::Status) -> Result<Exit, Problem> {
    let session = session::open(&args.target, args.sample.as_deref(), false).await?;
    let (header, status) = read(&session).await?;
    session.console.print(&if args.json {
        let json = serde_json::to_string_pretty(&status);
        json.map_err(|error| Problem::failed(format!("the status has no JSON form: {error}")))? + "\n"
    } else {
        text(&header, &status)
    })?;
    if args.target.verbose && !args.json {
        session.console.print(&prepare::calls(&session))?;
    }
    known(&status).map(|()| Exit::Done)
}

/// Whether all of it could be read.
///
/// # Errors
/// What could not be.
pub fn known(status: &Status) -> Result<(), Problem> {
    let unknown: Vec<&str> = status.all_unknown().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Problem::failed(format!("not all of it is known:\n  {}", unknown.join("\n  ")))
        .hint("what could not be read is not taken for absent: sign in again, or ask for the right to read it"))
}

/// Reads it.
///
/// # Errors
/// When the account is not known, or another than the stack file's. What else could not be read is in the status.
pub async fn read(session: &Session) -> Result<(Header, Status), Problem> {
    let info = &session.stack.info;
    let buckets: BTreeSet<&str> = info.buckets.values().map(String::as_str).collect();
    let ledgers =
        join_all(buckets.iter().map(|&bucket| async move {
            (bucket, list_ledgers(&session.aws, bucket, &info.name, &info.region).await)
        }));
    let (facts, ledgers, instances, volumes) =
        join4(prepare::who_asks(session), ledgers, machines(&session.aws, info), disks(&session.aws, info)).await;
    let facts = facts?;
    prepare::check_account(session, &facts)?;

    let mut unknown = Vec::new();
    let mut places = in_file(session);
    for (bucket, listed) in ledgers {
        match listed {
            Ok(listed) => {
                let listed = listed.into_iter().map(|(sample, key)| Place { sample, bucket: bucket.to_owned(), key });
                let asked = |place: &Place| session.stack.sample.as_ref().is_none_or(|asked| *asked == place.sample);
                let more: Vec<Place> = listed.filter(|place| asked(place) && !places.contains(place)).collect();
                places.extend(more);
            }
            // No bucket, no ledger: a run of a stack that names it comes to nothing before it writes one.
            Err(error) if error.class == Class::NotFound => {}
            Err(error) => unknown.push(format!("whose runs are in the bucket {bucket} is not known: {error}")),
        }
    }
    let mut told = |what: &str, error: &AwsError| unknown.push(format!("which {what} there are is not known: {error}"));
    let mut instances = instances.map_err(|error| told("instances", &error)).ok();
    for one in instances.iter_mut().flatten() {
        one.price_per_hour = cost::price(&session.stack, one.address.as_deref(), &one.r#type);
    }
    let volumes = volumes.map_err(|error| told("volumes", &error)).ok();
    let looks = places.iter().map(|at| {
        let is_dead = |holder: &str| seat::is_dead(&session.state_dir, &at.sample, holder);
        look(&session.aws, &at.sample, &at.bucket, &at.key, is_dead)
    });
    let runs = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let status = Status {
        schema: SCHEMA,
        stack: info.name.clone(),
        account: facts.account.clone(),
        region: info.region.clone(),
        runs,
        instances,
        volumes,
        unknown,
    };
    Ok((prepare::header(session, &facts, "status"), status))
}

/// Where a ledger is, or would be.
#[derive(PartialEq)]
struct Place {
    sample: String,
    bucket: String,
    key: String,
}

/// Those of the stack file's samples, or of the one that was asked for.
fn in_file(session: &Session) -> Vec<Place> {
    let (stack, info) = (&session.stack, &session.stack.info);
    let Some(bucket) = session.ledger_bucket() else { return Vec::new() };
    let samples = match &stack.sample {
        Some(sample) => vec![sample.clone()],
        None if stack.samples.is_empty() => vec![DEFAULT_SAMPLE.to_owned()],
        None => stack.samples.clone(),
    };
    let place = |sample: String| {
        let key = ledger_key(&info.region, &info.name, &sample);
        Place { sample, bucket: bucket.to_owned(), key }
    };
    samples.into_iter().map(place).collect()
}
