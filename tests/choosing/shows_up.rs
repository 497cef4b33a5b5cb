//! What `destroy` sees only once it has begun, since listings lag behind: it is looked at as closely as the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seqstack::sandbox::connector::mutates;
use seqstack::sandbox::{Fate, Passing, Wire};

use super::*;

/// Destroys what is chosen; until the first thing is changed, these listings are answered as from ten seconds ago.
async fn destroy_behind(lab: &Lab, stack: &str, what: &str, listings: &'static [&str]) -> Result<Exit, Problem> {
    let begun = AtomicBool::new(false);
    let fates = move |passing: &Passing| {
        begun.fetch_or(mutates(&passing.name), Ordering::SeqCst);
        match listings.contains(&passing.name.as_str()) && !begun.load(Ordering::SeqCst) {
            true => Fate::Behind(Duration::from_secs(10)),
            false => Fate::Pass,
        }
    };
    let wire = Wire { fates: Some(Arc::new(fates)), ..lab.wire.clone() };
    destroy::destroy_chosen(&lab.session_over(wire, stack, None, false), &choice(what), false, &yes()).await
}

#[tokio::test(start_paused = true)]
async fn what_is_protected_stays() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    lab.sandbox.remember(Duration::from_secs(11));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let stack = edited("[cluster.main]", "[cluster.main]\n[log_group.more]\nprotect = true");
    assert_eq!(lab.apply(&stack).await, Exit::Done);
    let exit = destroy_behind(&lab, &stack, "", &["logs:DescribeLogGroups", "logs:ListTagsForResource"]).await.unwrap();
    assert_eq!((exit, lab.left()), (Exit::Failed, vec!["log_groups /seqstack/lab/more".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_files_on_a_kept_instance_are_not_lost_unasked() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    lab.sandbox.remember(Duration::from_secs(11));
    assert_eq!(apply(&lab, STACK, "log_group -pipeline").await, Exit::Done);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    let refused =
        destroy_behind(&lab, STACK, "task_definition instance", &["ec2:DescribeInstances"]).await.unwrap_err();
    assert!(refused.to_string().contains("--discard-intermediates"), "{refused}");
    let left = |kind: &str| lab.left().iter().any(|one| one.starts_with(kind));
    assert!(left("instances ") && !left("task_definitions "), "{:?}", lab.left());
}
