//! Tags that others put on what is ours, and tags of the file that come, change and go.

use std::sync::Arc;
use std::time::Duration;

use seqstack::cli::Wish;
use seqstack::command::{Exit, apply};
use seqstack::sandbox::{Fate, Passing, Wire};
use serde_json::Value;

use super::launches::waited;
use super::steps;
use crate::lab::{Lab, STACK, edited, wish, yes};

/// Every set of tags of the stack's in the account, with a word on whose it is.
fn each(value: &mut Value, at: &str, seen: &mut impl FnMut(&str, &mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(tags) if name == "tags" && tags.contains_key("seqstack:stack") => seen(at, tags),
                    other => each(other, &format!("{at}/{name}"), seen),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, at, seen)),
        _ => {}
    }
}

/// What does not live on with the stack, and has no tags that a plan compares: tasks and volumes.
fn compared(at: &str) -> bool {
    !at.contains("/tasks") && !at.contains("/volumes") && !at.contains("/container_instances")
}

#[tokio::test(start_paused = true)]
async fn what_others_have_tagged_stays_and_is_no_difference_on_any_kind() {
    let lab = Lab::new();
    let always = edited("lifetime        = \"run\"", "lifetime        = \"always\"");
    assert_eq!(lab.apply(&always).await, Exit::Done);
    let mut kinds = std::collections::BTreeSet::new();
    let change = |all: &mut serde_json::Value| {
        each(all, "", &mut |at, tags| {
            kinds.insert(at.split('/').take(3).collect::<Vec<_>>().join("/"));
            tags.insert("CreatedBy".to_owned(), "a lambda".into());
        });
    };
    lab.sandbox.edit(change).unwrap();
    for kind in ["roles", "policies", "profiles", "key_pairs", "groups", "instances", "clusters", "definitions"] {
        assert!(kinds.iter().any(|at| at.ends_with(kind)), "{kind}: {kinds:?}");
    }
    assert!(kinds.iter().any(|at| at.starts_with("/logs/")), "{kinds:?}");
    assert_eq!(steps(&lab.plan(&always).await), Vec::<String>::new());

    // A tag that leaves the file goes, one that comes is set, and theirs stays.
    let other = always.replace("project = \"ngs\"", "group = \"x\"");
    assert_eq!(lab.apply(&other).await, Exit::Done);
    assert_eq!(steps(&lab.plan(&other).await), Vec::<String>::new());
    each(&mut lab.sandbox.portrait().unwrap(), "", &mut |at, tags| {
        if compared(at) {
            let keys: Vec<&str> =
                ["CreatedBy", "group", "project"].into_iter().filter(|key| tags.contains_key(*key)).collect();
            assert_eq!(keys, ["CreatedBy", "group"], "{at}: {tags:?}");
        }
    });
    // None at all in the file: ours are gone, theirs is not.
    let none = always.replace("tags   = { project = \"ngs\" }\n", "");
    assert_eq!(lab.apply(&none).await, Exit::Done);
    assert_eq!(steps(&lab.plan(&none).await), Vec::<String>::new());
    let role = lab.aws().iam.get_role().role_name("lab-input").send().await.unwrap().role.unwrap();
    let keys: Vec<&str> = role.tags().iter().map(|tag| tag.key()).filter(|key| !key.starts_with("seqstack:")).collect();
    assert_eq!(keys, ["CreatedBy"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_over_keeps_its_owners_tags() {
    let lab = Lab::new();
    let (iam, logs) = (lab.aws().iam, lab.aws().logs);
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
    let tag = aws_sdk_iam::types::Tag::builder().key("team").value("blue").build().unwrap();
    iam.create_role().role_name("lab-execution").assume_role_policy_document(trust).tags(tag).send().await.unwrap();
    logs.create_log_group().log_group_name("/seqstack/lab/pipeline").tags("team", "blue").send().await.unwrap();
    let adopt = ["role.execution", "log_group.pipeline"].map(|at| at.parse().unwrap()).to_vec();
    assert_eq!(lab.try_apply(STACK, Wish { adopt, ..wish() }).await.unwrap(), Exit::Done);
    assert_eq!(steps(&lab.plan(STACK).await), Vec::<String>::new());
    lab.destroy(STACK).await;
    let role = iam.get_role().role_name("lab-execution").send().await.unwrap().role.unwrap();
    let keys: Vec<&str> = role.tags().iter().map(|tag| tag.key()).collect();
    assert!(keys.contains(&"team") && !keys.iter().any(|key| key.starts_with("seqstack:")), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tag_whose_key_changes_its_case_stays_on_a_role() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    let upper = edited("project = \"ngs\"", "Project = \"ngs\"");
    assert_eq!(lab.apply(&upper).await, Exit::Done);
    let role = lab.aws().iam.get_role().role_name("lab-input").send().await.unwrap().role.unwrap();
    let keys: Vec<&str> = role.tags().iter().map(|tag| tag.key()).filter(|key| !key.starts_with("seqstack:")).collect();
    assert_eq!(keys, ["Project"]);
    assert_eq!(steps(&lab.plan(&upper).await), Vec::<String>::new());
}

/// In a default VPC EC2 says yes to the revoking of a rule that the asked part of it does not know yet.
#[tokio::test(start_paused = true)]
async fn a_rule_that_ec2_does_not_know_yet_is_not_taken_for_revoked() {
    let lab = Lab::new();
    lab.sandbox.remember(Duration::from_secs(600));
    let without = edited(
        "ingress     = [{ protocol = \"tcp\", port = 22, cidr = \"203.0.113.0/24\", description = \"SSH access\" }]\n",
        "",
    );
    assert_eq!(lab.apply(&without).await, Exit::Done);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let fates = |passing: &Passing| match passing.name == "ec2:RevokeSecurityGroupIngress" && passing.nth == 1 {
        true => Fate::Behind(Duration::from_secs(60)),
        false => Fate::Pass,
    };
    let wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
    let session = lab.session_over(wire, &without, None, true);
    let end = apply::apply(&session, &wish(), &yes()).await;
    assert_eq!(end.unwrap_or_else(|problem| panic!("{problem}")), Exit::Done);
    assert_eq!(steps(&lab.plan(&without).await), Vec::<String>::new());
    assert!(waited(&lab).iter().any(|text| text.contains("making sure")), "{:?}", waited(&lab));
}

/// The agent of an instance whose cluster was deleted never registers in one that is made in its place.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_made_anew_replaces_the_instance_that_names_it() {
    let lab = Lab::new();
    let always = edited("lifetime        = \"run\"", "lifetime        = \"always\"");
    assert_eq!(lab.apply(&always).await, Exit::Done);
    let ecs = lab.aws().ecs;
    for arn in ecs.list_container_instances().cluster("lab-main").send().await.unwrap().container_instance_arns() {
        ecs.deregister_container_instance()
            .cluster("lab-main")
            .container_instance(arn)
            .force(true)
            .send()
            .await
            .unwrap();
    }
    ecs.delete_cluster().cluster("lab-main").send().await.unwrap();
    let again = always.replace("call ${sample.name}", "call again ${sample.name}");
    let planned = steps(&lab.plan(&again).await);
    for step in ["create cluster.main", "delete instance.worker", "create instance.worker"] {
        assert!(planned.iter().any(|one| one.starts_with(step)), "{step}: {planned:?}");
    }
    assert_eq!(lab.discard(&again).await, Exit::Done);
    assert_eq!(steps(&lab.plan(&again).await), Vec::<String>::new());
}
