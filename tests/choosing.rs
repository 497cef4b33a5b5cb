//! A part of a stack, by `--target` and `--exclude`, and what `protect` refuses: the real commands against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab;

#[path = "choosing/protect.rs"]
mod protect;
#[path = "choosing/shows_up.rs"]
mod shows_up;

use std::collections::BTreeSet;
use std::time::Duration;

use lab::{Lab, STACK, edited, fails, fine, wish, yes};
use seqstack::choose::Choice;
use seqstack::cli::{Consent, Wish};
use seqstack::command::prepare::{self, Prepared};
use seqstack::command::{Exit, Problem, apply, destroy};
use seqstack::sandbox::engine::fake::Outcome;

/// A choice as it is typed: `role.input -pipeline` targets the one and excludes the other.
fn choice(text: &str) -> Choice {
    let mut out = Choice::default();
    for word in text.split_whitespace() {
        match word.strip_prefix('-') {
            Some(word) => out.excludes.push(word.parse().unwrap()),
            None => out.targets.push(word.parse().unwrap()),
        }
    }
    out
}

fn choosing(text: &str) -> Wish {
    Wish { choice: choice(text), ..wish() }
}

async fn plan(lab: &Lab, stack: &str, choice: &str) -> Prepared {
    let session = lab.session(stack, None, true);
    prepare::converge(&session, &choosing(choice), "plan").await.unwrap_or_else(|problem| panic!("{problem}"))
}

async fn apply(lab: &Lab, stack: &str, choice: &str) -> Exit {
    lab.try_apply(stack, choosing(choice)).await.unwrap_or_else(|problem| panic!("{problem}"))
}

async fn try_destroy(lab: &Lab, stack: &str, what: &str) -> Result<Exit, Problem> {
    destroy::destroy_chosen(&lab.session(stack, None, false), &choice(what), false, &yes()).await
}

async fn destroy(lab: &Lab, stack: &str, what: &str) -> Exit {
    try_destroy(lab, stack, what).await.unwrap_or_else(|problem| panic!("{problem}"))
}

/// The plan's steps, as text.
fn steps(prepared: &Prepared) -> Vec<String> {
    prepared.plan.steps.keys().map(ToString::to_string).collect()
}

fn notes(prepared: &Prepared) -> Vec<String> {
    prepared.plan.notes.iter().map(|(at, note)| format!("{at}: {note}")).collect()
}

fn last_line(prepared: &Prepared) -> String {
    prepared.text(false).lines().last().unwrap().to_owned()
}

/// The stack with an instance that stays.
fn staying() -> String {
    edited("lifetime        = \"run\"", "lifetime        = \"always\"")
}

#[tokio::test(start_paused = true)]
async fn a_target_brings_what_it_needs_and_says_so() {
    let lab = Lab::new();
    let prepared = plan(&lab, STACK, "task_definition.tool").await;
    assert_eq!(steps(&prepared), ["create log_group.pipeline", "create role.execution", "create task_definition.tool"]);
    assert_eq!(
        notes(&prepared),
        [
            "log_group.pipeline: also, because task_definition.tool needs it",
            "role.execution: also, because task_definition.tool needs it"
        ]
    );
    assert_eq!(last_line(&prepared), "3 to create; 7 other changes are left out");
    assert_eq!(apply(&lab, STACK, "task_definition.tool").await, Exit::Done);
    let mut left = lab.left();
    left.sort();
    assert_eq!(left, ["log_groups /seqstack/lab/pipeline", "roles lab-execution", "task_definitions lab--tool:1"]);
    assert!(lab.started().is_empty());
    // Once more, there is nothing to do; and the whole goes on from there.
    let again = plan(&lab, STACK, "task_definition.tool").await;
    assert_eq!(last_line(&again), "nothing to do; 7 other changes are left out");
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"]);
    assert!(lab.plan(STACK).await.plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_run_the_infrastructure_converges_and_nothing_runs() {
    let lab = Lab::new();
    let prepared = plan(&lab, STACK, "-pipeline").await;
    assert!(steps(&prepared).iter().all(|step| step.starts_with("create ")), "{:?}", steps(&prepared));
    assert_eq!(notes(&prepared), ["instance.worker[S1]: left out, because it exists for the run only"]);
    assert_eq!(last_line(&prepared), "8 to create; 2 other changes are left out");
    assert!(prepared.plan.run.is_none());
    assert_eq!(apply(&lab, STACK, "-pipeline").await, Exit::Done);
    assert!(lab.started().is_empty());
    assert!(lab.left().iter().all(|one| !one.starts_with("instances ")), "{:?}", lab.left());
    assert_eq!(last_line(&plan(&lab, STACK, "-pipeline").await), "nothing to do; 2 other changes are left out");
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_run_as_a_target_brings_all_that_it_runs_on_and_nothing_else() {
    let lab = Lab::new();
    let stack = edited("[cluster.main]", "[cluster.main]\n[log_group.more]");
    let prepared = plan(&lab, &stack, "pipeline.run").await;
    assert_eq!(prepared.plan.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(), ["log_group.more"]);
    assert!(notes(&prepared).contains(&"role.instance: also, because instance.worker[S1] needs it".to_owned()));
    assert!(notes(&prepared).contains(&"instance.worker[S1]: also, because pipeline.run[S1] needs it".to_owned()));
    assert_eq!(apply(&lab, &stack, "pipeline.run").await, Exit::Done);
    assert_eq!(lab.started().len(), 3);
    assert!(lab.left().iter().all(|one| !one.starts_with("instances ")), "{:?}", lab.left());
    assert_eq!(steps(&lab.plan(&stack).await), ["create log_group.more"]);
}

#[tokio::test(start_paused = true)]
async fn a_runs_instance_is_made_without_the_run_only_as_a_target_and_used_by_it_later() {
    let lab = Lab::new();
    let prepared = plan(&lab, STACK, "instance").await;
    let note = "instance.worker[S1]: the run is left out: this stays until a run has used it, or it ends itself";
    assert!(notes(&prepared).contains(&note.to_owned()), "{:?}", notes(&prepared));
    assert!(!steps(&prepared).contains(&"delete instance.worker[S1]".to_owned()));
    assert_eq!(apply(&lab, STACK, "instance").await, Exit::Done);
    assert!(lab.started().is_empty());
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!((lab.started().len(), lab.mutations()["ec2:RunInstances"]), (3, 1));
    assert!(lab.left().iter().all(|one| !one.starts_with("instances ")), "{:?}", lab.left());
}

#[tokio::test(start_paused = true)]
async fn an_excluded_thing_keeps_out_what_needs_it() {
    let lab = Lab::new();
    let prepared = plan(&lab, STACK, "-instance.worker").await;
    assert_eq!(notes(&prepared), ["pipeline.run[S1]: left out, because it needs instance.worker[S1]"]);
    assert_eq!(apply(&lab, STACK, "-instance.worker").await, Exit::Done);
    assert!(lab.started().is_empty());
    // Through what stays as it is: the run's instance needs the role, and the run the instance.
    let role = edited("[role.instance]", "[role.instance]\ndescription = \"other\"");
    let prepared = plan(&lab, &role, "-role.instance").await;
    assert_eq!(steps(&prepared), Vec::<String>::new());
    assert_eq!(
        notes(&prepared),
        [
            "instance.worker[S1]: left out, because it needs role.instance",
            "pipeline.run[S1]: left out, because it needs instance.worker[S1]"
        ]
    );
    // What is as the file says already leaves nothing out.
    assert_eq!(apply(&lab, STACK, "-role").await, Exit::Done);
    assert_eq!(lab.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_run_waits_for_uploads() {
    let lab = Lab::new();
    std::fs::write(lab.folder.path().join("S1.fq"), "new reads").unwrap();
    let stack = edited("[cluster.main]", "[cluster.main]\n[upload.reads]\nbucket = \"reads\"\nfiles = [\"S1.fq\"]");
    let prepared = plan(&lab, &stack, "-upload").await;
    assert!(notes(&prepared).contains(&"pipeline.run[S1]: left out, because it needs upload.reads".to_owned()));
    assert_eq!(apply(&lab, &stack, "-upload").await, Exit::Done);
    assert!(lab.started().is_empty());
    assert_eq!(lab.sandbox.get_object("lab-reads", "S1.fq").unwrap(), "content of S1.fq");
    // Somebody put that object there: what is overwritten is agreed to apart, and left out it is not asked about.
    let refused = lab.try_apply(&stack, choosing("pipeline")).await.unwrap_err();
    assert!(refused.to_string().contains("this would overwrite s3://lab-reads/S1.fq (16 bytes of "), "{refused}");
    let told = |prepared: Prepared| prepared.view().overwrites.into_iter().map(|one| one.by).collect::<Vec<_>>();
    assert_eq!(told(plan(&lab, &stack, "pipeline").await), ["upload.reads"]);
    assert_eq!(told(plan(&lab, &stack, "-upload").await), Vec::<String>::new());
    let consent = Consent { overwrite: true, ..yes() };
    let agreed = apply::apply(&lab.session(&stack, None, true), &choosing("pipeline"), &consent).await;
    assert_eq!(agreed.unwrap(), Exit::Done);
    assert_eq!(lab.started().len(), 3);
    assert_eq!(lab.sandbox.get_object("lab-reads", "S1.fq").unwrap(), "new reads");
    // What seqstack has put there, it replaces as a matter of course.
    std::fs::write(lab.folder.path().join("S1.fq"), "newer reads").unwrap();
    assert_eq!(apply(&lab, &stack, "upload").await, Exit::Done);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_replaced_under_its_holder() {
    let lab = Lab::new();
    let stack = staying();
    lab.apply(&stack).await;
    let text = stack.replace("description = \"ECS instances\"", "description = \"ECS machines\"");
    let both = ["create security_group.ecs", "update instance.worker", "delete security_group.ecs"];
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    let whole = sorted(steps(&lab.plan(&text).await));
    assert_eq!(whole, sorted(both.map(str::to_owned).to_vec()));

    let excluded = plan(&lab, &text, "-instance.worker").await;
    assert_eq!(steps(&excluded), Vec::<String>::new());
    assert_eq!(notes(&excluded), ["security_group.ecs: left out, because instance.worker uses it"]);
    let before = lab.mutations();
    assert_eq!(apply(&lab, &text, "-instance.worker").await, Exit::Done);
    assert_eq!(lab.mutations(), before);

    let target = plan(&lab, &text, "security_group.ecs").await;
    assert_eq!(sorted(steps(&target)), whole);
    assert_eq!(notes(&target), ["instance.worker: also, because it uses security_group.ecs, which goes"]);
    assert_eq!(apply(&lab, &text, "security_group.ecs").await, Exit::Done);
    assert!(lab.plan(&text).await.plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn orphans_and_conflicts_outside_the_choice_are_left_alone() {
    let lab = Lab::new();
    let stack = edited("[cluster.main]", "[cluster.main]\n[log_group.more]");
    lab.apply(&stack).await;
    let aws = lab.aws();
    aws.ecs.create_cluster().cluster_name("lab-theirs").send().await.unwrap();
    let text = edited("[cluster.main]", "[cluster.main]\n[cluster.theirs]")
        .replace("retention_days = 7", "retention_days = 14");
    assert_eq!(lab.apply(&text).await, Exit::Failed);
    let prepared = plan(&lab, &text, "log_group.pipeline").await;
    assert_eq!(steps(&prepared), ["update log_group.pipeline"]);
    assert_eq!(last_line(&prepared), "1 to change; 2 other changes are left out");
    assert_eq!(apply(&lab, &text, "log_group.pipeline").await, Exit::Done);
    // An orphan can be a target too, and be excluded.
    assert_eq!(steps(&plan(&lab, &text, "log_group.more").await), ["delete log_group.more"]);
    let excluded = plan(&lab, &text, "-log_group.more -cluster.theirs").await;
    assert!(excluded.plan.is_empty() && excluded.plan.conflicts.is_empty());
    assert_eq!(lab.plan(&text).await.plan.conflicts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_before_is_none_of_a_choice_without_it() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(2) } else { fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    let before = lab.left();
    assert!(before.iter().any(|one| one.starts_with("instances ")), "{before:?}");
    assert_eq!(apply(&lab, STACK, "-pipeline").await, Exit::Done);
    assert_eq!(apply(&lab, STACK, "role").await, Exit::Done);
    assert_eq!(apply(&lab, STACK, "pipeline").await, Exit::RunFailed);
    assert_eq!(lab.left(), before);
    let text = plan(&lab, STACK, "-pipeline").await.text(false);
    assert!(!text.contains("pipeline"), "{text}");
    // The instance of a run that is due comes with it; one that no run has any more goes without.
    let due = STACK.replace("call ${sample.name}", "call ${sample.name} --again");
    assert_eq!(steps(&plan(&lab, &due, "-pipeline").await), Vec::<String>::new());
    let renamed = due.replace("[instance.worker]", "[instance.other]");
    assert_eq!(steps(&plan(&lab, &renamed, "-pipeline").await), ["delete instance.worker[S1]"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_drives_a_run_is_waited_for_only_by_what_ends_its_instance() {
    let seconds = |line: &str| if line.starts_with("call") { 4000 } else { 2 };
    let lab = Lab::with(move |line| Outcome { runs_for: Duration::from_secs(seconds(line)), ..fine() });
    let killed = tokio::time::timeout(Duration::from_secs(30), lab.apply(STACK)).await;
    assert!(killed.is_err() && lab.started().contains(&"call S1".to_owned()));
    // On another machine, that driver is not known to be dead.
    std::fs::remove_dir_all(lab.state()).unwrap();
    let other = edited("size_gib = 30", "size_gib = 60").replace("retention_days = 7", "retention_days = 14");
    assert!(plan(&lab, &other, "").await.driver.is_some());
    let began = tokio::time::Instant::now();
    assert_eq!(apply(&lab, &other, "-instance.worker -pipeline").await, Exit::Done);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(steps(&plan(&lab, &other, "log_group").await), Vec::<String>::new());
    // An instance that goes without a run is needed by whoever drives one on it all the same.
    let taken = plan(&lab, &other, "instance.worker").await;
    assert!(taken.driver.is_some() && taken.run.is_none() && taken.plan.conflicts.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn destroy_of_a_part_keeps_what_that_needs_and_takes_along_who_needs_it() {
    let lab = Lab::new();
    let stack = staying();
    lab.apply(&stack).await;
    assert_eq!(destroy(&lab, &stack, "-instance.worker").await, Exit::Done);
    let kept = lab.left();
    for kept_one in ["roles lab-instance", "clusters lab-main", "key_pairs lab-key"] {
        assert!(kept.contains(&kept_one.to_owned()), "{kept_one}: {kept:?}");
    }
    for kind in ["instances ", "security_groups lab-ecs"] {
        assert!(kept.iter().any(|one| one.starts_with(kind)), "{kind}: {kept:?}");
    }
    for gone in ["lab-execution", "lab-input", "lab--tool", "/seqstack/lab/pipeline"] {
        assert!(kept.iter().all(|one| !one.contains(gone)), "{gone}: {kept:?}");
    }
    let session = lab.session(&stack, None, false);
    let rest = prepare::destroy(&session, &choice("role.instance"), &BTreeSet::new()).await.unwrap();
    assert_eq!(steps(&rest), ["delete instance.worker", "delete role.instance"]);
    assert_eq!(notes(&rest), ["instance.worker: also, because it uses role.instance, which goes"]);
    assert_eq!(destroy(&lab, &stack, "role.instance").await, Exit::Done);
    assert!(lab.left().iter().all(|one| !one.starts_with("instances ")), "{:?}", lab.left());
    // What the file does not have any more is not known once it is gone.
    assert_eq!(lab.apply(&edited("[cluster.main]", "[cluster.main]\n[log_group.more]")).await, Exit::Done);
    assert_eq!(destroy(&lab, &stack, "log_group.more").await, Exit::Done);
    assert_eq!(lab.destroy(&stack).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn names_that_mean_nothing_are_all_told_at_once_and_change_nothing() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    let before = lab.mutations();
    let wrong = choosing("role.instanse rol upload role.input -pipelin -role.input");
    let problem = lab.try_apply(STACK, wrong).await.unwrap_err();
    assert_eq!(problem.exit, Exit::Usage);
    insta::assert_snapshot!(problem.to_string(), @r"
    error: --target role.instanse: there is no such thing, neither in the stack file nor in the account
    hint: did you mean `role.instance`?
    error: --target rol: there is no such thing, neither in the stack file nor in the account
    hint: did you mean `role`?
    error: --target upload: there is no such thing, neither in the stack file nor in the account
    hint: there are: cluster, cluster.main, instance, instance.worker, key_pair, key_pair.key, log_group, log_group.pipeline, pipeline, pipeline.run, role, role.execution, role.input, role.instance, security_group, security_group.ecs, task_definition, task_definition.tool
    error: --exclude pipelin: there is no such thing, neither in the stack file nor in the account
    hint: did you mean `pipeline`?
    error: --target role.input --exclude role.input: it cannot be both
    ");
    let problem = try_destroy(&lab, STACK, "-pipeline").await.unwrap_err();
    assert_eq!(problem.exit, Exit::Usage);
    insta::assert_snapshot!(problem.to_string(), @r"
    error: --exclude pipeline: there is no run to choose
    hint: plan and apply have one where the stack file has a [pipeline]; destroy takes down the instance that it is on, and leaves its ledger and results
    ");
    assert_eq!(lab.mutations(), before);
}
