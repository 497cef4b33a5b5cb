//! `protect = true`: neither deleted nor replaced, with its table in the file or without.

use super::*;
use seqstack::kind::TAG_PROTECT;
use seqstack::stack::{Request, Stack};

/// The plan's conflicts, as text with the hint.
fn conflicts(prepared: &Prepared) -> Vec<String> {
    prepared.plan.conflicts.iter().map(|one| format!("{}: {} ({})", one.at, one.why, one.hint)).collect()
}

/// Physical names of security groups end in a hash.
fn protected_group() -> String {
    edited("[security_group.ecs]\n", "[security_group.ecs]\nname = \"lab-group\"\nprotect = true\n")
}

#[tokio::test(start_paused = true)]
async fn a_protected_group_is_not_replaced_nor_deleted_but_by_its_tables_word() {
    let lab = Lab::new();
    let stack = protected_group();
    assert_eq!(lab.apply(&stack).await, Exit::Done);
    assert!(lab.plan(&stack).await.plan.is_empty());
    let before = lab.mutations();

    let replaced = stack
        .replace("description = \"ECS instances\"", "description = \"ECS machines\"")
        .replace("lab-group", "lab-group-2");
    let [refused] = &conflicts(&lab.plan(&replaced).await)[..] else { panic!("one conflict") };
    insta::assert_snapshot!(without_ids(refused), @"security_group.ecs: sg-… is protected, and changing its `description` would replace it (set `protect = false` in its table; or leave it as it is, with --exclude security_group.ecs)");
    assert_eq!(lab.apply(&replaced).await, Exit::Failed);
    assert_eq!(apply(&lab, &replaced, "-security_group.ecs").await, Exit::Done);

    // Without the line, what AWS has counts: it is a slip, and not a word.
    let slipped = replaced.replace("protect = true\n", "");
    assert_eq!(lab.plan(&slipped).await.plan.conflicts.len(), 1);
    assert_eq!(lab.apply(&slipped).await, Exit::Failed);

    let dropped = without_group(&stack);
    let [refused] = &conflicts(&lab.plan(&dropped).await)[..] else { panic!("one conflict") };
    insta::assert_snapshot!(without_ids(refused), @"security_group.ecs: sg-… is protected, and would go with its table in the stack file (put its table back with `protect = false`, apply, and then take it out; or leave it as it is, with --exclude security_group.ecs)");
    assert_eq!(lab.apply(&dropped).await, Exit::Failed);

    for text in [&stack, &dropped, STACK] {
        assert_eq!(lab.destroy(text).await, Exit::Failed);
    }
    assert_eq!(lab.mutations(), before);

    let free = replaced.replace("protect = true", "protect = false");
    assert_eq!(lab.apply(&free).await, Exit::Done);
    assert!(lab.plan(&free).await.plan.is_empty());
    assert_eq!(lab.destroy(&free).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_replacement_left_over_is_not_the_protected_one() {
    use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};

    let lab = Lab::new();
    let stack = protected_group();
    lab.apply(&stack).await;
    let tags = [("stack", "lab"), ("region", "eu-west-2"), ("address", "security_group.ecs"), ("protect", "true")];
    let tags = tags.map(|(key, value)| Tag::builder().key(format!("seqstack:{key}")).value(value).build());
    let tags =
        TagSpecification::builder().resource_type(ResourceType::SecurityGroup).set_tags(Some(tags.into())).build();
    let old = lab.aws().ec2.create_security_group().group_name("lab-old").description("old").tag_specifications(tags);
    let old = old.send().await.unwrap().group_id.unwrap();
    let prepared = lab.plan(&stack).await;
    assert_eq!(steps(&prepared), [format!("delete security_group.ecs ({old})")]);
    assert_eq!(lab.apply(&stack).await, Exit::Done);
    assert!(lab.plan(&stack).await.plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn destroy_without_what_is_protected_leaves_it_and_what_it_needs() {
    let lab = Lab::new();
    let stack = staying().replace("[instance.worker]\n", "[instance.worker]\nprotect = true\n");
    lab.apply(&stack).await;
    let before = lab.mutations();
    assert_eq!(lab.destroy(&stack).await, Exit::Failed);
    assert_eq!(lab.mutations(), before);
    assert_eq!(destroy(&lab, &stack, "-instance.worker").await, Exit::Done);
    let left = lab.left();
    assert!(left.iter().any(|one| one.starts_with("instances ")) && left.contains(&"roles lab-instance".into()));
    // What would take it along is refused too.
    assert_eq!(destroy(&lab, &stack, "role.instance").await, Exit::Failed);
    assert_eq!(lab.left(), left);
}

#[tokio::test(start_paused = true)]
async fn every_kind_with_tags_keeps_its_protection_when_its_table_is_dropped() {
    let lab = Lab::new();
    let mut stack = staying();
    let tables = [
        "role.input",
        "key_pair.key",
        "security_group.ecs",
        "cluster.main",
        "instance.worker",
        "log_group.pipeline",
        "task_definition.tool",
    ];
    for table in tables {
        stack = stack.replace(&format!("[{table}]\n"), &format!("[{table}]\nprotect = true\n"));
    }
    assert_eq!(lab.apply(&stack).await, Exit::Done);
    assert!(lab.plan(&stack).await.plan.is_empty());
    let before = lab.mutations();
    let none = "[stack]\nname = \"lab\"\nregion = \"eu-west-2\"\n";
    let prepared = lab.plan(none).await;
    let mut refused: Vec<String> = prepared.plan.conflicts.iter().map(|conflict| conflict.at.to_string()).collect();
    refused.sort();
    let mut all = tables.map(str::to_owned);
    all.sort();
    assert_eq!(refused, all);
    assert_eq!(lab.destroy(none).await, Exit::Failed);
    assert_eq!(lab.mutations(), before);
    // Taken off in place, as any tag is, and then it goes.
    assert_eq!(lab.apply(&staying()).await, Exit::Done);
    assert_eq!(lab.destroy(&staying()).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_default_protects_every_task_definition_and_a_protected_one_takes_new_revisions() {
    let lab = Lab::new();
    let stack = edited("[task_defaults]\n", "[task_defaults]\nprotect = true\n");
    assert_eq!(lab.apply(&stack).await, Exit::Done);
    let text = stack.replace("image = \"tool:1\"", "image = \"tool:2\"");
    assert_eq!(apply(&lab, &text, "-pipeline").await, Exit::Done);
    assert_eq!(lab.destroy(&text).await, Exit::Failed);
}

#[tokio::test(start_paused = true)]
async fn what_was_adopted_is_let_go_of_with_its_protection() {
    let lab = Lab::new();
    let aws = lab.aws();
    aws.logs.create_log_group().log_group_name("/seqstack/lab/pipeline").send().await.unwrap();
    let stack = edited("[log_group.pipeline]\n", "[log_group.pipeline]\nprotect = true\n");
    let adopting = Wish { adopt: vec!["log_group.pipeline".parse().unwrap()], ..choosing("log_group") };
    assert_eq!(lab.try_apply(&stack, adopting).await.unwrap(), Exit::Done);
    let tags = || async {
        let group = aws.logs.describe_log_groups().send().await.unwrap().log_groups.unwrap().remove(0);
        let arn = group.arn().unwrap().trim_end_matches(":*").to_owned();
        aws.logs.list_tags_for_resource().resource_arn(arn).send().await.unwrap().tags.unwrap_or_default()
    };
    assert!(tags().await.contains_key(TAG_PROTECT));
    assert_eq!(lab.destroy(&stack).await, Exit::Done);
    assert!(tags().await.keys().all(|key| !key.starts_with("seqstack:")), "{:?}", tags().await);
}

#[test]
fn a_protection_that_cannot_be_is_a_fault_on_its_line() {
    let told = |text: &str| -> Vec<String> {
        let request = Request { sample: None, set: &[], needs_sample: true };
        match Stack::parse(std::path::Path::new("lab.toml"), text, &request) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .iter()
                .map(|fault| {
                    let line = text.lines().nth(fault.line - 1).unwrap();
                    format!("`{line}`: {} ({})", fault.text, fault.hint.as_deref().unwrap_or_default())
                })
                .collect(),
        }
    };
    let text = edited("[instance.worker]\n", "[instance.worker]\nprotect = true\n")
        .replace("[cluster.main]\n", "[cluster.main]\nprotect = \"yes\"\n")
        .replace("[role.input]\n", "[role.theirs]\nexisting = \"x\"\nprotect = true\n[role.input]\nprotekt = true\n");
    insta::assert_snapshot!(told(&text).join("\n"), @r#"
    `protect = true`: `protect` beside `existing` (what is somebody else's is used as it is: keep only `existing`, or take it out)
    `protekt = true`: unknown key `protekt` (did you mean `protect`?)
    `protect = "yes"`: expected true or false, found a string (without quotes)
    `protect = true`: `instance.worker` exists for a sample's run only, and cannot be protected (say lifetime = "always" to keep it, or leave `protect` out)
    "#);
    assert!(told(&edited("[instance.worker]\n", "[instance.worker]\nprotect = false\n")).is_empty());
    let var = edited("[cluster.main]\n", "[vars]\nkeep = true\n[cluster.main]\nprotect = \"${vars.keep}\"\n");
    assert!(told(&var).is_empty(), "{:?}", told(&var));
}

fn without_group(stack: &str) -> String {
    let (before, rest) = stack.split_once("[security_group.ecs]").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    format!("{before}\n{}", after.replace("security_groups = [\"ecs\"]", "security_groups = []"))
}

/// Ids are drawn.
fn without_ids(text: &str) -> String {
    text.split(' ').map(|word| if word.starts_with("sg-") { "sg-…" } else { word }).collect::<Vec<_>>().join(" ")
}
