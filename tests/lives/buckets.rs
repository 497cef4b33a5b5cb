//! Buckets as accounts have them: in another region, with a policy that demands encryption, with archived objects.

use std::time::Duration;

use aws_config::Region;
use aws_sdk_s3::types::RestoreRequest;
use seqstack::aws::{Aws, clients};
use seqstack::command::Exit;
use seqstack::command::prepare;
use seqstack::command::prepare::Prepared;
use seqstack::sandbox::s3::keeping::Keeping;
use seqstack::sandbox::s3::state::Bucket;
use seqstack::sandbox::{Wire, sdk_config};
use serde_json::{Value, json};

use crate::lab::scene::in_parts;
use crate::lab::{Lab, STACK, edited, wish};

const KEY: &str = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn bucket(lab: &Lab, name: &str, change: impl FnOnce(&mut Bucket)) {
    lab.sandbox.with_account(|account, _| change(account.s3.buckets.get_mut(name).unwrap()));
}

/// Changes how an object is kept, and says that it was written that many days ago.
fn kept(lab: &Lab, at: (&str, &str), days: i64, change: impl FnOnce(&mut Keeping)) {
    bucket(lab, at.0, |bucket| {
        let version = &mut bucket.keys.get_mut(at.1).unwrap()[0];
        version.modified -= jiff::SignedDuration::from_hours(24 * days);
        change(&mut version.object.as_mut().unwrap().keeping);
    });
}

fn conflicts(prepared: &Prepared) -> String {
    prepared.plan.conflicts.iter().map(|conflict| format!("{conflict:?}\n")).collect()
}

#[tokio::test(start_paused = true)]
async fn buckets_of_other_regions_are_read_and_written_there() {
    let lab = Lab::new();
    bucket(&lab, "lab-reads", |bucket| bucket.region = "us-east-1".to_owned());
    bucket(&lab, "lab-results", |bucket| bucket.region = "eu-central-1".to_owned());
    let planned = lab.plan(STACK).await.text(false);
    for (bucket, region) in [("lab-reads", "us-east-1"), ("lab-results", "eu-central-1")] {
        assert!(
            planned.contains(&format!("the bucket {bucket} is in {region}, and the stack in eu-west-2")),
            "{planned}"
        );
    }
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"]);
    assert!(!super::runs(&lab.plan(STACK).await));
    // What was found once is remembered: the misses are those of each command's first calls.
    let misses: usize =
        lab.sandbox.refusals().iter().filter(|(what, _)| what.ends_with("PermanentRedirect")).map(|(_, n)| n).sum();
    assert!(misses <= 3 * 4, "{:?}", lab.sandbox.refusals());
    assert_eq!(lab.destroy(STACK).await, Exit::Done);

    for region in ["us-east-1", "eu-south-1"] {
        let scene = in_parts();
        let lab = scene.set().await;
        bucket(&lab, "lab-reads", |bucket| bucket.region = region.to_owned());
        assert_eq!(scene.act(&lab, lab.wire.clone()).await, Some(Exit::Done), "{region}");
        assert_eq!(super::steps(&lab.plan(&scene.stack).await), Vec::<String>::new(), "{region}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_elsewhere_names_both_regions() {
    let lab = Lab::new();
    bucket(&lab, "lab-reads", |bucket| {
        bucket.region = "us-east-1".to_owned();
        bucket.policy = Some(denied_without(&json!({"Null": {"s3:x-amz-server-side-encryption": "true"}})));
    });
    let aws = lab.aws();
    let put = |s3: &aws_sdk_s3::Client| aws.buckets.put_object(s3, "lab-reads").key("k").send();
    let refused = aws.buckets.call("lab-reads", "s3:PutObject", put).await.unwrap_err().to_string();
    assert!(refused.contains("the bucket lab-reads is in us-east-1, and the stack in eu-west-2"), "{refused}");
}

/// S3's other answer to who asks in the wrong region, which to HeadObject says no region.
#[tokio::test(start_paused = true)]
async fn a_signature_for_the_wrong_region_leads_to_the_right_one() {
    let lab = Lab::new();
    let config = sdk_config(&lab.sandbox, Wire::default()).into_builder().region(Region::new("us-east-1"));
    let aws = Aws::new(&clients::patient(config.build()));
    let head = |s3: &aws_sdk_s3::Client| s3.head_object().bucket("lab-reads").key("S1.fq").send();
    aws.buckets.call("lab-reads", "s3:HeadObject", head).await.unwrap();
    assert_eq!(aws.buckets.elsewhere().get("lab-reads").map(String::as_str), Some("eu-west-2"));
    // Another 400 without a body is what it was.
    let none = |s3: &aws_sdk_s3::Client| s3.head_object().bucket("lab-none").key("S1.fq").send();
    assert!(aws.buckets.call("lab-none", "s3:HeadObject", none).await.is_err());
}

fn denied_without(condition: &Value) -> Value {
    json!({"Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::*", "Condition": condition,
    }]})
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_demands_encryption_gets_it_with_every_write() {
    let method = json!({"Null": {"s3:x-amz-server-side-encryption": "true"}});
    let key = json!({"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": KEY}});
    let kms = format!("encryption = \"aws:kms\"\nkms_key = \"{KEY}\"\n");
    for (condition, table) in [(method, "encryption = \"AES256\"\n"), (key, kms.as_str())] {
        let lab = Lab::new();
        bucket(&lab, "lab-results", |bucket| bucket.policy = Some(denied_without(&condition)));
        assert!(!matches!(lab.try_apply(STACK, wish()).await, Ok(Exit::Done)));
        assert_eq!(lab.started(), Vec::<String>::new());
        let aws = lab.aws();
        let put = |s3: &aws_sdk_s3::Client| aws.buckets.put_object(s3, "lab-results").key("k").send();
        let refused = aws.buckets.call("lab-results", "s3:PutObject", put).await.unwrap_err().to_string();
        assert!(refused.contains("AccessDenied") && refused.contains("set `encryption ="), "{refused}");
        let name = "name = \"lab-results\"\n";
        let told = edited(name, &format!("{name}{table}"));
        assert_eq!(lab.apply(&told).await, Exit::Done);
        assert!(!super::runs(&lab.plan(&told).await));

        // So do uploads, whole and in parts, and their parts.
        let scene = in_parts();
        let lab = scene.set().await;
        std::fs::write(lab.folder.path().join("small"), "small").unwrap();
        bucket(&lab, "lab-reads", |bucket| bucket.policy = Some(denied_without(&condition)));
        let stack = scene.stack.replace("\"S1.fq\"", "\"S1.fq\", \"small\"");
        let refused = lab.try_apply(&stack, wish()).await;
        assert!(!matches!(refused, Ok(Exit::Done)), "{refused:?}");
        let name = "name = \"lab-reads\"\n";
        assert!(stack.contains(name), "{stack}");
        let told = stack.replace(name, &format!("{name}{table}"));
        assert_eq!(lab.apply(&told).await, Exit::Done);
        assert_eq!(super::steps(&lab.plan(&told).await), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn an_archived_input_is_told_before_anything_is_launched() {
    let lab = Lab::new();
    for (class, archived) in [("GLACIER", true), ("DEEP_ARCHIVE", true), ("GLACIER_IR", false), ("STANDARD_IA", false)]
    {
        kept(&lab, ("lab-reads", "S1.fq"), 0, |keeping| keeping.class = Some(class.to_owned()));
        let told = conflicts(&lab.plan(STACK).await);
        assert_eq!(told.contains(&format!("s3://lab-reads/S1.fq ({class})")), archived, "{class}: {told}");
        assert_eq!(told.contains("aws s3api restore-object"), archived, "{told}");
    }
    kept(&lab, ("lab-reads", "S1.fq"), 0, |keeping| keeping.class = Some("GLACIER".to_owned()));
    let refused = lab.try_apply(STACK, wish()).await;
    assert!(!matches!(refused, Ok(Exit::Done)), "{refused:?}");
    assert_eq!(lab.left(), Vec::<String>::new());

    let days = RestoreRequest::builder().days(1).build();
    lab.aws().s3.restore_object().bucket("lab-reads").key("S1.fq").restore_request(days).send().await.unwrap();
    assert!(conflicts(&lab.plan(STACK).await).contains("its restoration is under way"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let prepared = lab.plan(STACK).await;
    assert_eq!(conflicts(&prepared), "");
    assert!(prepared.text(false).contains("--force-glacier-transfer"), "{}", prepared.text(false));
    assert_eq!(lab.apply(STACK).await, Exit::Done);
}

/// A listing does not say which objects of INTELLIGENT_TIERING are archived, and none is before ninety days.
#[tokio::test(start_paused = true)]
async fn tiers_that_a_listing_does_not_show_are_asked_for_where_they_can_be() {
    let lab = Lab::new();
    kept(&lab, ("lab-reads", "S1.fq"), 0, |keeping| keeping.class = Some("INTELLIGENT_TIERING".to_owned()));
    assert_eq!(conflicts(&lab.plan(STACK).await), "");
    assert_eq!(lab.sandbox.counts().get("s3:HeadObject"), None);
    kept(&lab, ("lab-reads", "S1.fq"), 91, |_| ());
    assert_eq!(conflicts(&lab.plan(STACK).await), "");
    assert_eq!(lab.sandbox.counts().get("s3:HeadObject"), Some(&1));
    kept(&lab, ("lab-reads", "S1.fq"), 0, |keeping| keeping.tier = Some("ARCHIVE_ACCESS".to_owned()));
    assert!(conflicts(&lab.plan(STACK).await).contains("s3://lab-reads/S1.fq (ARCHIVE_ACCESS)"));
}

#[tokio::test(start_paused = true)]
async fn an_archived_ledger_is_no_missing_right() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let ledger = ".seqstack/eu-west-2/lab/S1/ledger.json";
    kept(&lab, ("lab-results", ledger), 0, |keeping| keeping.class = Some("GLACIER".to_owned()));
    let session = lab.session(STACK, None, true);
    let Err(refused) = prepare::converge(&session, &wish(), "plan").await else { panic!("it was read") };
    let told = refused.to_string();
    for part in [ledger, "restore-object", "lifecycle rules"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("ask for the right"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn keys_of_any_characters_are_found_and_found_again() {
    for key in ["S 1+\u{e9}%41&<1>.fq", "a//b'\"#?.fq", "run[1].fq"] {
        let lab = Lab::new();
        lab.sandbox.put_object("lab-reads", key, "reads".into()).unwrap();
        // In the listing of the whole bucket, one that XML has no form for.
        lab.sandbox.put_object("lab-reads", "odd\u{1}\r\nkey", "odd".into()).unwrap();
        let stack = edited("reads = \"S1.fq\"", &format!("reads = '''{key}'''")).replace("\"ref.fa\"]", "\"*.fa\"]");
        assert_eq!(lab.apply(&stack).await, Exit::Done, "{key}");
        assert!(!super::runs(&lab.plan(&stack).await), "{key}");
        lab.sandbox.put_object("lab-reads", key, "others".into()).unwrap();
        assert!(super::runs(&lab.plan(&stack).await), "{key}");
    }
}
