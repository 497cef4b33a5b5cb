//! What somebody else wrote is overwritten only when that is agreed to apart; what a run of this stack wrote, as a matter of course.

use std::time::Duration;

use seqstack::cli::Consent;
use seqstack::command::{Exit, Problem, apply};

use crate::lab::{Lab, STACK, edited, fails, fine, wish, yes};

async fn agreeing(lab: &Lab, stack: &str) -> Result<Exit, Problem> {
    let consent = Consent { overwrite: true, ..yes() };
    apply::apply(&lab.session(stack, None, true), &wish(), &consent).await
}

/// That `--yes` alone changes nothing.
async fn refused(lab: &Lab, stack: &str) {
    let before = lab.mutations();
    let problem = lab.try_apply(stack, wish()).await.unwrap_err();
    assert!(problem.text.contains("this would overwrite s3://lab-results/S1/S1.vcf (13 bytes of "), "{problem}");
    assert!(problem.hint.as_ref().unwrap().contains("--overwrite"), "{problem}");
    assert_eq!(lab.mutations(), before);
}

fn put(lab: &Lab) {
    lab.sandbox.put_object("lab-results", "S1/S1.vcf", "their variant".into()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_output_that_no_run_wrote() {
    let lab = Lab::new();
    put(&lab);
    refused(&lab, STACK).await;
    assert_eq!(agreeing(&lab, STACK).await.unwrap(), Exit::Done);
    assert_eq!(lab.sandbox.get_object("lab-results", "S1/S1.vcf").unwrap(), "a variant\n");
    // The same run again overwrites its own; and what somebody has put there since is somebody's.
    let again = edited("call ${sample.name}", "call ${sample.name} --again");
    assert_eq!(lab.apply(&again).await, Exit::Done);
    put(&lab);
    refused(&lab, STACK).await;
    assert_eq!(agreeing(&lab, STACK).await.unwrap(), Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn an_output_of_a_run_that_was_not_finished() {
    let lab = Lab::with(|line| if line.starts_with("check S1 --bad") { fails(1) } else { fine() });
    let stack = |command: &str| {
        format!("{STACK}[[pipeline.step]]\nname = \"check\"\ntask = \"tool\"\ncommand = \"{command}\"\n")
    };
    assert_eq!(lab.apply(&stack("check ${sample.name} --bad")).await, Exit::RunFailed);
    let mended = stack("check ${sample.name}").replace("push ${sample.name}", "push ${sample.name} --again");
    let plan = lab.plan(&mended).await;
    assert_eq!((plan.overwrites.len(), plan.overwrites_others().count()), (1, 0));
    tokio::time::sleep(Duration::from_secs(60)).await;
    put(&lab);
    refused(&lab, &mended).await;
    lab.aws().s3.delete_object().bucket("lab-results").key("S1/S1.vcf").send().await.unwrap();
    assert_eq!(lab.apply(&mended).await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_another_stack_has_uploaded() {
    let stack = |name: &str| {
        format!(
            "[stack]\nname = \"{name}\"\nregion = \"eu-west-2\"\n[bucket.reads]\nname = \"lab-reads\"\n\
             [upload.reads]\nbucket = \"reads\"\nfiles = [\"panel.bed\"]\n"
        )
    };
    let (one, other) = (stack("one"), stack("other"));
    let lab = Lab::of(&one);
    assert_eq!(lab.apply(&one).await, Exit::Done);
    // The same content is in nobody's way; other content is.
    assert!(lab.plan(&other).await.plan.steps.is_empty());
    std::fs::write(lab.folder.path().join("panel.bed"), "another panel").unwrap();
    let problem = lab.try_apply(&other, wish()).await.unwrap_err();
    assert!(problem.text.contains("this would overwrite s3://lab-reads/panel.bed"), "{problem}");
    assert_eq!(agreeing(&lab, &other).await.unwrap(), Exit::Done);
    assert_eq!(lab.sandbox.get_object("lab-reads", "panel.bed").unwrap(), "another panel");
    assert!(lab.plan(&other).await.plan.steps.is_empty());
}
