//! Files that are brought to a bucket, whole and in parts.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::RequestChecksumCalculation::{WhenRequired, WhenSupported};
use seqstack::aws::{Aws, clients};
use seqstack::command::{Exit, apply, prepare};
use seqstack::kind::{Acting, kind};
use seqstack::sandbox::{Fate, Passing, Wire, sdk_config};

use super::steps;
use crate::lab::scene::in_parts;
use crate::lab::{Lab, wish, yes};

fn unfinished(lab: &Lab) -> usize {
    lab.sandbox.with_account(|account, _| account.s3.uploads.len())
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_is_lost_is_found_by_what_is_there() {
    let scene = in_parts();
    let lab = scene.set().await;
    let fates = |passing: &Passing| match (passing.name.as_str(), passing.nth) {
        ("s3:CompleteMultipartUpload", 1) => Fate::AnswerLost,
        _ => Fate::Pass,
    };
    let wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
    assert_eq!(scene.act(&lab, wire).await, Some(Exit::Done));
    assert_eq!(lab.mutations()["s3:CompleteMultipartUpload"], 2);
    assert_eq!((lab.mutations()["s3:CreateMultipartUpload"], unfinished(&lab)), (1, 0));
    assert_eq!(steps(&lab.plan(&scene.stack).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn interrupted_it_sends_no_further_part_and_leaves_none() {
    let scene = in_parts();
    let lab = scene.set().await;
    let session = lab.session(&scene.stack, None, true);
    let plan = prepare::converge(&session, &wish(), "apply").await.unwrap_or_else(|problem| panic!("{problem}")).plan;
    let call = plan.steps.values().flat_map(|step| &step.calls).next().unwrap().clone();
    let (_stop, stopped) = tokio::sync::watch::channel(true);
    let acting = Acting {
        aws: session.aws.clone(),
        stack: session.stack.info.clone(),
        state_dir: session.state_dir.clone(),
        say: Arc::new(|_| ()),
        stopped,
    };
    let error = kind("upload").unwrap().perform(acting, call).await.unwrap_err().to_string();
    assert!(error.contains("interrupted before part 1 of"), "{error}");
    assert_eq!((lab.mutations()["s3:CreateMultipartUpload"], unfinished(&lab)), (1, 0));
    assert!(!lab.mutations().contains_key("s3:UploadPart"), "{:?}", lab.mutations());
}

#[tokio::test(start_paused = true)]
async fn two_machines_that_send_the_same_file_at_once_both_converge() {
    // The later one ends last, or first.
    for (first, after, second, aborted) in [(3, 4, 3, 0), (20, 85, 1, 2)] {
        let scene = in_parts();
        let lab = scene.set().await;
        let apply = async |state: &str, after: u64, latency: u64| {
            tokio::time::sleep(Duration::from_secs(after)).await;
            let slow = Wire { latency: Duration::from_secs(latency), ..Wire::default() };
            let mut session = lab.session_over(slow, &scene.stack, None, true);
            session.state_dir = lab.folder.path().join(state);
            apply::apply(&session, &wish(), &yes()).await.unwrap_or_else(|problem| panic!("{problem}"))
        };
        let ends = tokio::join!(apply("one machine", 0, first), apply("another machine", after, second));
        assert_eq!(ends, (Exit::Done, Exit::Done), "{second}");
        assert_eq!((lab.mutations()["s3:CreateMultipartUpload"], unfinished(&lab)), (2, 0), "{second}");
        // By the one that has begun later, and then by the other one itself, whose upload that was.
        let aborts = lab.mutations().get("s3:AbortMultipartUpload").copied().unwrap_or_default();
        assert_eq!(aborts, aborted, "{second}");
        assert_eq!(steps(&lab.plan(&scene.stack).await), Vec::<String>::new());
    }
}

/// What `AWS_REQUEST_CHECKSUM_CALCULATION` may say: whether the SDK adds checksums of its own to what it sends.
#[tokio::test(start_paused = true)]
async fn a_file_of_any_size_arrives_whatever_checksums_the_sdk_adds() {
    for setting in [WhenSupported, WhenRequired] {
        for size in [0, 8 << 20, (8 << 20) + 1, 100_000_000] {
            let scene = in_parts();
            let lab = scene.set().await;
            let content: Vec<u8> = (0..size).map(|n: usize| (n >> 3) as u8).collect();
            std::fs::write(lab.folder.path().join("S1.fq"), &content).unwrap();
            let mut session = lab.session(&scene.stack, None, true);
            let config = sdk_config(&lab.sandbox, lab.wire.clone()).into_builder();
            session.aws = Aws::new(&clients::patient(config.request_checksum_calculation(setting).build()));
            let applied = apply::apply(&session, &wish(), &yes()).await;
            assert_eq!(applied.unwrap_or_else(|problem| panic!("{problem}")), Exit::Done, "{size} {setting:?}");
            assert!(lab.sandbox.get_object("lab-reads", "S1.fq").unwrap() == content, "{size} {setting:?}");
            assert_eq!(lab.mutations().contains_key("s3:UploadPart"), size > 8 << 20);
            assert_eq!(steps(&lab.plan(&scene.stack).await), Vec::<String>::new(), "{size} {setting:?}");
        }
    }
}
