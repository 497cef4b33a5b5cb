//! One sandbox, every region at once: what is in one is not seen from another, and a bucket is where it was made.

use aws_config::Region;
use seqstack::aws::{Aws, clients};
use seqstack::command::session::Session;
use seqstack::command::{Exit, apply, destroy, prepare};
use seqstack::sandbox::sdk_config;

use crate::lab::{Lab, wish, yes};
use crate::{runs, steps};

const GERMLINE: &str = include_str!("../../stacks/germline.toml");
const BUCKETS: &str = "eu-central-1";

/// A stack of this name. IAM is the same everywhere, so no two stacks may have one name.
fn named(name: &str) -> String {
    GERMLINE.replacen("name   = \"germline\"", &format!("name   = \"{name}\""), 1)
}

fn session(lab: &Lab, region: &str) -> Session {
    let mut session = lab.session(&named(&format!("germline-{region}")), None, true);
    let config = sdk_config(&lab.sandbox, lab.wire.clone()).into_builder().region(Region::new(region.to_owned()));
    let aws = Aws::new(&clients::patient(config.build()));
    session.stack.info.region = region.to_owned();
    session.aws = Aws { buckets: aws.buckets.encrypted(session.stack.info.encryptions.clone()), ..aws };
    session
}

#[tokio::test(start_paused = true)]
async fn three_regions_live_side_by_side_with_buckets_in_a_fourth() {
    let lab = Lab::of(GERMLINE);
    lab.sandbox.with_account(|account, _| {
        let names: Vec<String> = account.s3.buckets.keys().cloned().collect();
        for name in names {
            account.s3.buckets.get_mut(&name).unwrap().region = BUCKETS.to_owned();
        }
    });
    let sessions = ["eu-west-2", "us-east-1", "ap-northeast-1"].map(|region| session(&lab, region));
    let (wish, mut consent) = (wish(), yes());
    // Each stack's run writes the same outputs.
    consent.overwrite = true;
    for session in &sessions {
        assert_eq!(apply::apply(session, &wish, &consent).await.unwrap(), Exit::Done);
    }
    let status = lab.sandbox.status();
    for region in ["eu-west-2", "us-east-1", "ap-northeast-1"] {
        let there = |service: &str, kind: &str| {
            let all = status[service][kind].as_array().unwrap();
            all.iter().filter(|one| one["region"] == region).count()
        };
        assert_eq!((there("ecs", "clusters"), there("ec2", "security_groups"), there("logs", "log_groups")), (1, 1, 1));
        assert!(there("ecs", "task_definitions") > 0, "{region}");
        assert_eq!(there("ec2", "instances"), 0, "{region}: its instance went with the run");
    }
    assert!(status["s3"]["buckets"].as_array().unwrap().iter().all(|bucket| bucket["region"] == BUCKETS));
    for session in &sessions {
        let prepared = prepare::converge(session, &wish, "plan").await.unwrap();
        assert_eq!(steps(&prepared), Vec::<String>::new(), "{}", session.aws.region);
        assert!(!runs(&prepared) || session.aws.region != "ap-northeast-1", "the last one's run stands");
    }
    // At once, they take down what is theirs.
    let ends = sessions.iter().map(|session| destroy::destroy(session, false, &consent));
    for end in futures_util::future::join_all(ends).await {
        assert_eq!(end.unwrap(), Exit::Done);
    }
    assert_eq!(lab.left(), Vec::<String>::new());
}
