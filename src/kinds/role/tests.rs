use serde_json::json;

use super::*;
use crate::facts::Facts;
use crate::kind::StackInfo;
use crate::stack::values::PLACEHOLDER;

fn stack() -> StackInfo {
    StackInfo {
        name: "germline".to_owned(),
        region: "eu-west-2".to_owned(),
        tags: Tags::from([("project".to_owned(), "ngs".to_owned())]),
        buckets: [("reads".to_owned(), "lab-in".to_owned()), ("results".to_owned(), "lab-out".to_owned())].into(),
        ..StackInfo::default()
    }
}

fn lowered(spec: Value) -> State {
    let facts = Facts { account: "123456789012".to_owned(), partition: "aws".to_owned(), ..Facts::default() };
    let stack = stack();
    let cx = Context { stack: &stack, facts: &facts, sample: None };
    Role::lower(&at(), serde_json::from_value(spec).unwrap(), &cx).unwrap()
}

fn at() -> Address {
    Address::new("role", "worker")
}

fn full() -> State {
    lowered(json!({
        "trusts": "ecs-tasks.amazonaws.com", "read": ["reads"], "write": ["results"], "instance_profile": true,
        "attach": ["service-role/AmazonECSTaskExecutionRolePolicy"],
    }))
}

fn described(live: Option<&State>, want: Option<&State>) -> Vec<String> {
    Role::calls(&at(), live, want).iter().map(Role::describe).collect()
}

#[test]
fn a_role_is_made_and_deleted_in_iams_order() {
    insta::assert_snapshot!(described(None, Some(&full())).join("\n"), @r"
    iam:CreateRole germline-worker
    iam:AttachRolePolicy germline-worker AmazonECSTaskExecutionRolePolicy
    iam:CreatePolicy germline-worker_policy
    iam:AttachRolePolicy germline-worker germline-worker_policy
    iam:CreateInstanceProfile germline-worker
    iam:AddRoleToInstanceProfile germline-worker germline-worker
    ");
    insta::assert_snapshot!(described(Some(&full()), None).join("\n"), @r"
    iam:RemoveRoleFromInstanceProfile germline-worker germline-worker
    iam:DeleteInstanceProfile germline-worker
    iam:DetachRolePolicy germline-worker AmazonECSTaskExecutionRolePolicy
    iam:DetachRolePolicy germline-worker germline-worker_policy
    iam:DeletePolicy germline-worker_policy
    iam:DeleteRole germline-worker
    ");
    assert!(described(Some(&full()), Some(&full())).is_empty());
}

/// What the account would be after the first calls of a list.
fn after(calls: &[Call]) -> Option<State> {
    let want = full();
    let mut now = super::nothing(&want);
    for call in calls {
        match call {
            Call::CreateRole { tags, .. } => (now.made, now.tags) = (true, tags.clone()),
            Call::AttachRolePolicy { policy, .. } => match &mut now.policy {
                Some(own) if own.arn == *policy => own.attached = true,
                _ => drop(now.attached.insert(policy.clone())),
            },
            Call::CreatePolicy { .. } => now.policy = want.policy.clone().map(|own| Policy { attached: false, ..own }),
            Call::CreateInstanceProfile { .. } => {
                now.profile = want.profile.clone().map(|profile| Profile { role: None, ..profile });
            }
            Call::AddRoleToInstanceProfile { role, .. } => {
                now.profile.as_mut().unwrap().role = Some(role.clone());
            }
            other => panic!("{other:?} in a create"),
        }
    }
    (!calls.is_empty()).then_some(now)
}

#[test]
fn a_create_cut_short_anywhere_goes_on_as_an_update() {
    let want = full();
    let all = Role::calls(&at(), None, Some(&want));
    for cut in 0..=all.len() {
        let rest = Role::calls(&at(), after(&all[..cut]).as_ref(), Some(&want));
        let rest: Vec<_> = rest.iter().map(Role::describe).collect();
        let expected: Vec<_> = all[cut..].iter().map(Role::describe).collect();
        assert_eq!(rest, expected, "cut after {cut} calls");
    }
}

#[test]
fn changes_are_minimal() {
    let live = full();
    let mut want = live.clone();
    want.tags.insert("project".to_owned(), "other".to_owned());
    want.policy.as_mut().unwrap().document = document::canonical(json!({ "Statement": [] }));
    assert_eq!(
        described(Some(&live), Some(&want)),
        ["iam:TagRole germline-worker project", "iam:CreatePolicyVersion germline-worker_policy"]
    );
    let mut crowded = live;
    crowded.policy.as_mut().unwrap().spare_versions = ["v1", "v2", "v3", "v4"].map(str::to_owned).to_vec();
    assert_eq!(described(Some(&crowded), Some(&want))[1], "iam:DeletePolicyVersion germline-worker_policy v1");
}

#[test]
fn a_role_let_go_of_lets_go_of_its_profile_and_policy_too() {
    let live = full();
    let mut want = live.clone();
    want.tags.retain(|key, _| !key.starts_with("seqstack:"));
    let calls = described(Some(&live), Some(&want));
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.starts_with("iam:Untag")), "{calls:?}");
}

#[test]
fn tasks_are_kept_from_the_ledger_and_instances_need_not_be() {
    let denies = |state: &State| state.policy.as_ref().unwrap().document.to_string().contains("DenyLedger");
    assert!(denies(&full()));
    assert!(denies(&lowered(json!({ "trusts": "ecs-tasks.amazonaws.com",
        "policy": { "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }] } }))));
    assert!(!denies(&lowered(json!({ "trusts": "ec2.amazonaws.com", "read": ["reads"] }))));
}

#[test]
fn what_contradicts_itself_is_a_fault() {
    let spec = json!({ "trusts": "nobody", "read": ["reads"], "policy": "no json" });
    let faults = Role::check(&serde_json::from_value(spec).unwrap());
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["policy", "policy", "trusts"]);
    let muted = json!({ "trusts": PLACEHOLDER, "session_seconds": i64::MIN, "policy": PLACEHOLDER });
    assert!(Role::check(&serde_json::from_value(muted).unwrap()).is_empty());
}

#[test]
fn a_description_that_iam_does_not_take_is_a_fault_of_the_file() {
    let faults = |text: &str| {
        let spec = json!({ "trusts": "ecs-tasks.amazonaws.com", "description": text });
        Role::check(&serde_json::from_value(spec).unwrap()).into_iter().map(|fault| fault.key).collect::<Vec<_>>()
    };
    for text in ["Pulls images, 100 %", "für die Aufgaben", &"x".repeat(1000)] {
        assert_eq!(faults(text), [""; 0], "{text}");
    }
    for text in ["reads – writes", "“quoted”", "α", "a\u{a0}b", &"x".repeat(1001)] {
        assert_eq!(faults(text), ["description"], "{text}");
    }
}
