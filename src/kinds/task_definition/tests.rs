use serde_json::{Value, json};

use super::*;
use crate::facts::Facts;

fn at() -> Address {
    Address::new("task_definition", "bwa")
}

fn lowered(spec: Value) -> State {
    let stack = StackInfo { name: "germline".to_owned(), ..StackInfo::default() };
    let facts = Facts {
        account: "123456789012".to_owned(),
        partition: "aws".to_owned(),
        region: "eu-west-2".to_owned(),
        ..Facts::default()
    };
    let spec = serde_json::from_value(spec).unwrap();
    TaskDefinition::lower(&at(), spec, &Context { stack: &stack, facts: &facts, sample: None }).unwrap()
}

fn live(spec: Value, revision: u32) -> State {
    let arn = |revision| format!("arn:aws:ecs:eu-west-2:123456789012:task-definition/germline--bwa:{revision}");
    State { arn: Some(arn(revision)), ..lowered(spec) }
}

fn described(live: Option<&State>, want: Option<&State>) -> Vec<String> {
    TaskDefinition::calls(&at(), live, want).iter().map(TaskDefinition::describe).collect()
}

fn spec(memory: u32) -> Value {
    json!({
        "image": "bwa", "memory": memory, "log_group": "pipeline", "execution_role": "execution",
        "environment": { "A": "1", "B": { "secret": "ssm:/b" } },
    })
}

#[test]
fn another_content_is_a_new_revision_and_then_the_old_one_goes() {
    let old = live(spec(1024), 3);
    let mut want = lowered(spec(2048));
    TaskDefinition::keep(&mut want, &old);
    assert_eq!(
        described(Some(&old), Some(&want)),
        ["ecs:RegisterTaskDefinition germline--bwa", "ecs:DeregisterTaskDefinition germline--bwa:3"]
    );
    // Killed between the two: the newest is right, and the older one is seen.
    let mut halfway = live(spec(2048), 4);
    halfway.older = old.arn.iter().cloned().collect();
    let mut want = lowered(spec(2048));
    TaskDefinition::keep(&mut want, &halfway);
    assert_eq!(described(Some(&halfway), Some(&want)), ["ecs:DeregisterTaskDefinition germline--bwa:3"]);
}

#[test]
fn equal_is_nothing_and_tags_alone_are_tagged() {
    let there = live(spec(1024), 3);
    let mut want = lowered(spec(1024));
    TaskDefinition::keep(&mut want, &there);
    assert_eq!(want, there);
    assert!(described(Some(&there), Some(&want)).is_empty());
    want.tags.insert("project".to_owned(), "ngs".to_owned());
    assert_eq!(described(Some(&there), Some(&want)), ["ecs:TagResource germline--bwa:3 project"]);
    assert_eq!(
        described(Some(&there), None),
        ["ecs:DeregisterTaskDefinition germline--bwa:3", "ecs:DeleteTaskDefinitions germline--bwa:3"]
    );
}

#[test]
fn secrets_stay_places() {
    let state = lowered(spec(1024));
    assert_eq!(state.secrets["B"], "arn:aws:ssm:eu-west-2:123456789012:parameter/b");
    assert_eq!(state.environment.len(), 1);
    let read: Spec = serde_json::from_value(spec(1024)).unwrap();
    assert_eq!(serde_json::from_value::<Spec>(serde_json::to_value(&read).unwrap()).unwrap(), read);
    assert!(TaskDefinition::check(&read).is_empty());
    let bad = json!({ "image": "x", "memory": 64, "environment": { "B": { "secret": "vault:/b" } } });
    assert_eq!(TaskDefinition::check(&serde_json::from_value(bad).unwrap()).len(), 2);
}
