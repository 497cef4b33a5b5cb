//! A stack's life, from first apply to destroy, with all that happens in between: the real commands against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab;

#[path = "lives/anew.rs"]
mod anew;
#[path = "lives/attempts.rs"]
mod attempts;
#[path = "lives/buckets.rs"]
mod buckets;
#[path = "lives/hangs.rs"]
mod hangs;
#[path = "lives/launches.rs"]
mod launches;
#[path = "lives/machines.rs"]
mod machines;
#[path = "lives/networks.rs"]
mod networks;
#[path = "lives/overwrites.rs"]
mod overwrites;
#[path = "lives/regions.rs"]
mod regions;
#[path = "lives/tags.rs"]
mod tags;
#[path = "lives/theirs.rs"]
mod theirs;
#[path = "lives/uploads.rs"]
mod uploads;

use lab::{Lab, STACK, edited, fails, fine, wish};
use seqstack::cli::Wish;
use seqstack::command::Exit;
use seqstack::command::prepare::Prepared;
use seqstack::plan::Verb;
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::service::Settings;

/// The plan's steps without the run's, as text.
fn steps(prepared: &Prepared) -> Vec<String> {
    prepared.plan.steps.keys().filter(|id| id.verb != Verb::Run).map(ToString::to_string).collect()
}

fn runs(prepared: &Prepared) -> bool {
    prepared.plan.run.is_some()
}

#[tokio::test(start_paused = true)]
async fn applied_it_is_as_the_file_says_and_destroyed_it_is_gone() {
    let lab = Lab::new();
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"]);
    let made = lab.mutations();
    for again in 0..2 {
        let prepared = lab.plan(STACK).await;
        assert_eq!(steps(&prepared), Vec::<String>::new(), "{again}");
        assert!(!runs(&prepared));
        assert_eq!(lab.apply(STACK).await, Exit::Done);
        assert_eq!(lab.mutations(), made);
        // What this machine keeps changes nothing.
        std::fs::remove_dir_all(lab.state()).unwrap();
    }
    assert_eq!(lab.destroy(STACK).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
    assert!(lab.sandbox.get_object("lab-results", "S1/S1.vcf").is_ok());
    assert!(lab.sandbox.get_object("lab-reads", "S1.fq").is_ok());
    // And up again: the run has been, so it costs no instance.
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started().len(), 3);
    assert_eq!(lab.destroy(STACK).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn one_edit_is_one_change_and_the_pipeline_does_not_run_again() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    for (from, to, changed) in [
        ("port = 22", "port = 2222", "update security_group.ecs"),
        (
            "203.0.113.0/24\", description = \"SSH access\"",
            "203.0.113.0/24\", description = \"ssh\"",
            "update security_group.ecs",
        ),
        ("read   = [\"reads\"]", "read   = [\"reads\", \"results\"]", "update role.input"),
        ("retention_days = 7", "retention_days = 14", "update log_group.pipeline"),
        ("image = \"tool:1\"", "image = \"tool:1\"\nmemory = 1100", "update task_definition.tool"),
        ("[cluster.main]", "[cluster.main]\n[log_group.more]", "create log_group.more"),
    ] {
        let text = edited(from, to);
        let prepared = lab.plan(&text).await;
        assert_eq!(steps(&prepared), [changed], "{to}");
        assert!(!runs(&prepared), "{to}");
        assert_eq!(lab.apply(&text).await, Exit::Done);
        assert_eq!(steps(&lab.plan(&text).await), Vec::<String>::new(), "{to}");
        assert_eq!(lab.apply(STACK).await, Exit::Done);
        assert_eq!(steps(&lab.plan(STACK).await), Vec::<String>::new(), "{to}");
    }
    let tag = lab.plan(&edited("project = \"ngs\"", "project = \"other\"")).await;
    assert!(steps(&tag).iter().all(|step| step.starts_with("update ")) && !runs(&tag), "{:?}", steps(&tag));
    assert_eq!(lab.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_description_changes_is_replaced_new_one_first() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    let text = edited("description = \"ECS instances\"", "description = \"ECS machines\"");
    let prepared = lab.plan(&text).await;
    assert_eq!(steps(&prepared), ["create security_group.ecs", "delete security_group.ecs"]);
    assert_eq!(lab.apply(&text).await, Exit::Done);
    assert_eq!(steps(&lab.plan(&text).await), Vec::<String>::new());
    lab.destroy(&text).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_run_is_due_when_what_it_is_made_of_changes_and_the_plan_says_why() {
    let lab = Lab::new();
    lab.apply(STACK).await;

    let last = lab.plan(&edited("push ${sample.name}", "push ${sample.name} --again")).await;
    assert!(runs(&last));
    let text = last.text(false);
    assert!(text.contains("command of step `push` changed"), "{text}");

    let sample = lab.plan(&edited("[sample.S1]", "[sample.S9]")).await;
    assert!(runs(&sample) && sample.text(false).contains("never run"));

    lab.sandbox.put_object("lab-reads", "S1.fq", "other reads".into()).unwrap();
    let input = lab.plan(STACK).await;
    assert!(runs(&input) && input.text(false).contains("S1.fq"), "{}", input.text(false));
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert!(!runs(&lab.plan(STACK).await));

    let aws = lab.aws();
    aws.s3.delete_object().bucket("lab-results").key("S1/S1.vcf").send().await.unwrap();
    let output = lab.plan(STACK).await;
    assert!(runs(&output) && output.text(false).contains("S1/S1.vcf"), "{}", output.text(false));
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert!(lab.sandbox.get_object("lab-results", "S1/S1.vcf").is_ok());
}

#[tokio::test(start_paused = true)]
async fn drift_is_found_and_mended() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    let aws = lab.aws();
    let groups = aws.ec2.describe_security_groups().send().await.unwrap();
    let group = groups.security_groups().iter().find(|one| one.group_name() != Some("default")).unwrap();
    let id = group.group_id().unwrap();
    let drifts = ["rule", "policy", "tag", "retention", "definition", "cluster", "log group"];
    for drift in drifts {
        let changed = match drift {
            "rule" => {
                let range = aws_sdk_ec2::types::IpRange::builder().cidr_ip("0.0.0.0/0").build();
                let open = aws_sdk_ec2::types::IpPermission::builder()
                    .ip_protocol("tcp")
                    .from_port(80)
                    .to_port(80)
                    .ip_ranges(range)
                    .build();
                aws.ec2.authorize_security_group_ingress().group_id(id).ip_permissions(open).send().await.unwrap();
                "update security_group.ecs"
            }
            "policy" => {
                let attached = aws.iam.list_attached_role_policies().role_name("lab-execution").send().await.unwrap();
                let arn = attached.attached_policies()[0].policy_arn().unwrap();
                aws.iam.detach_role_policy().role_name("lab-execution").policy_arn(arn).send().await.unwrap();
                "update role.execution"
            }
            "tag" => {
                let tag = aws_sdk_ec2::types::Tag::builder().key("project").build();
                aws.ec2.delete_tags().resources(id).tags(tag).send().await.unwrap();
                "update security_group.ecs"
            }
            "retention" => {
                aws.logs.delete_retention_policy().log_group_name("/seqstack/lab/pipeline").send().await.unwrap();
                "update log_group.pipeline"
            }
            "definition" => {
                aws.ecs.deregister_task_definition().task_definition("lab--tool:1").send().await.unwrap();
                "create task_definition.tool"
            }
            "log group" => {
                aws.logs.delete_log_group().log_group_name("/seqstack/lab/pipeline").send().await.unwrap();
                "create log_group.pipeline"
            }
            _ => {
                aws.ecs.delete_cluster().cluster("lab-main").send().await.unwrap();
                "create cluster.main"
            }
        };
        let prepared = lab.plan(STACK).await;
        assert_eq!(steps(&prepared), [changed], "{drift}");
        assert!(!runs(&prepared), "{drift}");
        assert_eq!(lab.apply(STACK).await, Exit::Done, "{drift}");
        assert_eq!(steps(&lab.plan(STACK).await), Vec::<String>::new(), "{drift}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_left_the_file_is_deleted_in_order() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    let (head, tail) = STACK.split_once("[pipeline]").unwrap();
    let head =
        head.replace("[log_group.pipeline]\nretention_days = 7\n", "").replace("log_group      = \"pipeline\"\n", "");
    let head = head.replace("[role.input]\ntrusts = \"ecs-tasks.amazonaws.com\"\nread   = [\"reads\"]\n", "");
    let text = format!("{head}[pipeline]{}", tail.replace("task_role = \"input\"\n", ""));
    let prepared = lab.plan(&text).await;
    assert_eq!(steps(&prepared), ["delete log_group.pipeline", "delete role.input", "update task_definition.tool"]);
    assert_eq!(lab.apply(&text).await, Exit::Done);
    assert_eq!(steps(&lab.plan(&text).await), Vec::<String>::new());
    lab.destroy(&text).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_stops_the_run_and_a_mended_one_goes_on_from_it() {
    for (broken, code, says) in [
        (fails as fn(i32) -> Outcome, 1, "exit code 1"),
        (|_| Outcome { out_of_memory: true, ..fails(137) }, 137, "memory"),
        (
            |_| Outcome { failed: Some("CannotPullContainerError: no such image".into()), ..fine() },
            0,
            "CannotPullContainerError",
        ),
    ] {
        let lab = Lab::with(move |line| if line.starts_with("call S1 --bad") { broken(code) } else { fine() });
        let bad = edited("call ${sample.name}", "call ${sample.name} --bad");
        assert_eq!(lab.apply(&bad).await, Exit::RunFailed);
        assert!(lab.started().iter().all(|line| !line.starts_with("push")), "{says}: {:?}", lab.started());
        let prepared = lab.plan(&bad).await;
        assert_eq!(steps(&prepared), Vec::<String>::new(), "the instance stays, and the same run is not begun again");
        let text = prepared.text(false);
        assert!(text.contains("`call`") && text.contains(says) && text.contains("--retry"), "{says}: {text}");
        let before = lab.started().len();
        assert_eq!(lab.apply(&bad).await, Exit::RunFailed);
        assert_eq!(lab.started().len(), before);

        assert_eq!(lab.apply(STACK).await, Exit::Done);
        assert_eq!(lab.started().iter().filter(|line| *line == "pull S1").count(), 1, "{says}");
        assert_eq!(lab.started().last().map(String::as_str), Some("push S1"));
        assert_eq!(lab.mutations()["ec2:RunInstances"], 1);
        assert_eq!(lab.mutations()["ec2:TerminateInstances"], 1);
        lab.destroy(STACK).await;
        assert_eq!(lab.left(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fits_no_instance_is_told_so() {
    let lab = Lab::new();
    let large = edited("command = \"call ${sample.name}\"", "command = \"call ${sample.name}\"\nmemory  = 7600");
    assert_eq!(lab.apply(&large).await, Exit::RunFailed);
    assert_eq!(lab.started(), ["pull S1"]);
    let text = lab.plan(&large).await.text(false);
    assert!(text.contains("7600"), "{text}");
    // More memory is no other science: `pull` is kept.
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert_eq!(lab.started(), ["pull S1", "call S1", "push S1"]);
}

#[tokio::test(start_paused = true)]
async fn a_released_instance_goes_whatever_the_outcome() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    let text = edited("on_failure = \"keep\"", "on_failure = \"release\"");
    assert_eq!(lab.apply(&text).await, Exit::RunFailed);
    assert!(lab.left().iter().all(|one| !one.starts_with("instances")), "{:?}", lab.left());
}

#[tokio::test(start_paused = true)]
async fn an_instance_lost_in_mid_run_is_replaced_and_the_run_begins_again() {
    let lab = Lab::with(|line| Outcome {
        runs_for: std::time::Duration::from_secs(if line.starts_with("call") { 120 } else { 2 }),
        ..Outcome::default()
    });
    let (exit, ()) = tokio::join!(lab.apply(STACK), attempts::lose_the_instance_under_call(&lab, 1));
    assert_eq!(exit, Exit::Done);
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    assert_eq!(lab.started(), ["pull S1", "call S1", "pull S1", "call S1", "push S1"]);
    let told = std::fs::read_to_string(lab.state().join("lab/journal.jsonl")).unwrap();
    for part in ["run_again", "terminated.", "\"attempt\":2,", "\"of\":3}"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    lab.destroy(STACK).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn two_samples_have_two_runs_and_neither_touches_the_others() {
    let text = edited("[sample.S1]", "[sample.S2]\nreads = \"S2.fq\"\n[sample.S1]");
    let of = |sample: &str| Wish { sample: Some(sample.into()), ..wish() };
    // One after the other.
    let lab = Lab::new();
    assert_eq!(lab.try_apply(&text, of("S1")).await.unwrap(), Exit::Done);
    assert_eq!(lab.try_apply(&text, of("S2")).await.unwrap(), Exit::Done);
    assert_eq!(lab.started(), ["pull S1", "call S1", "push S1", "pull S2", "call S2", "push S2"]);
    // At the same time.
    let lab = Lab::with(|_| Outcome { runs_for: std::time::Duration::from_secs(60), ..Outcome::default() });
    let (first, second) = tokio::join!(lab.try_apply(&text, of("S1")), lab.try_apply(&text, of("S2")));
    assert_eq!((first.unwrap(), second.unwrap()), (Exit::Done, Exit::Done));
    assert_eq!(lab.mutations()["ec2:RunInstances"], 2);
    let mut started = lab.started();
    started.sort();
    assert_eq!(started, ["call S1", "call S2", "pull S1", "pull S2", "push S1", "push S2"]);
    let launches = lab.fake.launches();
    for sample in ["S1", "S2"] {
        let mut on: Vec<&str> = launches
            .iter()
            .filter(|one| one.command.as_ref().unwrap()[1] == sample)
            .map(|one| one.instance.as_str())
            .collect();
        on.dedup();
        assert_eq!(on.len(), 1, "{sample}");
    }
    lab.destroy(&text).await;
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_is_taken_over_only_when_asked_and_let_go_of_at_the_end() {
    let lab = Lab::new();
    let aws = lab.aws();
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
    aws.iam
        .create_role()
        .role_name("lab-execution")
        .path("/theirs/")
        .assume_role_policy_document(trust)
        .send()
        .await
        .unwrap();
    aws.logs.create_log_group().log_group_name("/seqstack/lab/pipeline").send().await.unwrap();
    let prepared = lab.plan(STACK).await;
    let conflicts: Vec<String> = prepared.plan.conflicts.iter().map(|conflict| conflict.at.to_string()).collect();
    assert_eq!(conflicts, ["log_group.pipeline", "role.execution"]);
    let before = lab.mutations();
    assert_eq!(lab.apply(STACK).await, Exit::Failed);
    assert_eq!(lab.mutations(), before);
    let adopting =
        Wish { adopt: vec!["role.execution".parse().unwrap(), "log_group.pipeline".parse().unwrap()], ..wish() };
    assert_eq!(lab.try_apply(STACK, adopting).await.unwrap(), Exit::Done);
    assert_eq!(steps(&lab.plan(STACK).await), Vec::<String>::new());
    lab.destroy(STACK).await;
    assert_eq!(lab.left(), ["roles lab-execution", "log_groups /seqstack/lab/pipeline"]);
    let role = aws.iam.get_role().role_name("lab-execution").send().await.unwrap().role.unwrap();
    assert_eq!((role.path(), role.tags().len()), ("/theirs/", 1), "{:?}", role.tags());
}

#[tokio::test(start_paused = true)]
async fn another_stacks_things_are_never_touched() {
    let lab = Lab::new();
    lab.apply(STACK).await;
    let other = edited("name   = \"lab\"", "name   = \"other\"")
        .replace("[role.execution]\n", "[role.execution]\nname = \"lab-execution\"\n");
    let prepared = lab.plan(&other).await;
    assert_eq!(prepared.plan.conflicts.len(), 1);
    assert!(prepared.text(false).contains("belongs to the stack lab"), "{}", prepared.text(false));
    let before = lab.mutations();
    assert_eq!(lab.apply(&other).await, Exit::Failed);
    assert_eq!(lab.mutations(), before);
    lab.destroy(&other).await;
    assert_eq!(steps(&lab.plan(STACK).await), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_called_existing_is_used_and_left_alone() {
    let lab = Lab::new();
    let aws = lab.aws();
    let text = edited("[cluster.main]", "[cluster.main]\nexisting = \"theirs\"");
    let prepared = lab.plan(&text).await;
    assert_eq!(prepared.plan.conflicts.len(), 1, "{}", prepared.text(false));
    aws.ecs.create_cluster().cluster_name("theirs").send().await.unwrap();
    assert_eq!(lab.apply(&text).await, Exit::Done);
    lab.destroy(&text).await;
    assert_eq!(lab.left(), ["clusters theirs"]);
}

#[tokio::test(start_paused = true)]
async fn destroy_in_mid_run_refuses_and_stops_it_when_told_to() {
    let lab = Lab::with(|line| Outcome {
        runs_for: std::time::Duration::from_secs(if line.starts_with("call") { 6000 } else { 2 }),
        ..Outcome::default()
    });
    let running = lab.session(STACK, None, true);
    let apply = async {
        let (wish, consent) = (wish(), lab::yes());
        tokio::select! {
            exit = seqstack::command::apply::apply(&running, &wish, &consent) => panic!("{exit:?}"),
            () = async {
                while !lab.started().iter().any(|line| line == "call S1") {
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
            } => {}
        }
    };
    apply.await;
    // The tool is gone, the task runs on.
    let session = lab.session(STACK, None, false);
    let refused = seqstack::command::destroy::destroy(&session, false, &lab::yes()).await.unwrap_err();
    assert!(refused.to_string().contains("--stop-run"), "{refused}");
    let consent = seqstack::cli::Consent { discard_intermediates: true, ..lab::yes() };
    let done = seqstack::command::destroy::destroy(&session, true, &consent)
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(done, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_changes_nothing_is_three_round_trips_deep_at_most() {
    let lab = Lab::new();
    for name in ["lab-fastq-in", "lab-results-out"] {
        lab.sandbox.create_bucket(name);
    }
    let germline = include_str!("../stacks/germline.toml");
    let session = lab.session(germline, None, true);
    for key in [
        "OMGL_2005265_U035_S35_L001_R1_001.fastq.gz",
        "OMGL_2005265_U035_S35_L001_R2_001.fastq.gz",
        "hs37d5.fa",
        "hs37d5.fa.fai",
        "hs37d5.dict",
        "FH.bed",
    ] {
        lab.sandbox.put_object("lab-fastq-in", key, "x".into()).unwrap();
    }
    let prepared = seqstack::command::prepare::converge(&session, &wish(), "plan")
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    assert!(session.aws.trace.depth() <= 3, "{}", session.aws.trace.depth());
    let text = prepared.text(false);
    assert!(text.lines().count() < 60, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_kept_instance_is_not_replaced_without_a_run_and_its_files_are_not_lost_unasked() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    // A larger machine is worth another try: the run is due, on a fresh instance, and what goes is said.
    let larger = edited("size_gib = 30", "size_gib = 60");
    let prepared = lab.plan(&larger).await;
    assert!(runs(&prepared) && prepared.losses.len() == 1, "{}", prepared.text(false));
    let refused = lab.try_apply(&larger, wish()).await.unwrap_err();
    assert!(refused.to_string().contains("--discard-intermediates"), "{refused}");
    let session = lab.session(STACK, None, false);
    let refused = seqstack::command::destroy::destroy(&session, false, &lab::yes()).await.unwrap_err();
    assert!(refused.to_string().contains("--discard-intermediates"), "{refused}");
    let consent = seqstack::cli::Consent { discard_intermediates: true, ..lab::yes() };
    let done = seqstack::command::destroy::destroy(&session, false, &consent)
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(done, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_shows_the_end_of_its_log() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    let session = lab.session(STACK, None, true);
    let prepared = seqstack::command::prepare::converge(&session, &wish(), "apply")
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    let lock = seqstack::command::proceed::Lock::take(&session.state_dir, session.console)
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    let interrupts = seqstack::command::proceed::Interrupts::heed(&session);
    let carried_out =
        seqstack::command::proceed::carry_out(&session, &prepared.plan, "tester", false, lock, &interrupts);
    let (_, end) = carried_out.await.unwrap_or_else(|problem| panic!("{problem}"));
    let text = seqstack::report::run::outcome(&end.unwrap().unwrap());
    assert!(text.contains("| no such file: x.bam") && text.contains("log group /seqstack/lab/pipeline"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_replaced_when_a_run_needs_one() {
    let lab = Lab::with(|line| if line.starts_with("call S1 --bad") { fails(1) } else { fine() });
    assert_eq!(lab.apply(&edited("call ${sample.name}", "call ${sample.name} --bad")).await, Exit::RunFailed);
    let id = lab.sandbox.with_account(|account, _| account.ec2.instances[0].id.clone());
    lab.aws().ec2.stop_instances().instance_ids(id).send().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let prepared = lab.plan(STACK).await;
    assert!(steps(&prepared).contains(&"delete instance.worker[S1]".to_owned()), "{:?}", steps(&prepared));
    assert_eq!(lab.discard(STACK).await, Exit::Done);
    assert_eq!(lab.started().iter().filter(|line| *line == "pull S1").count(), 2);
}

/// AWS takes one call a second for task definitions after the first twenty; the attempts wait for that.
#[tokio::test(start_paused = true)]
async fn forty_task_definitions_go_within_awss_rates() {
    let more: String =
        (0..40).map(|n| format!("[task_definition.more{n}]\nimage = \"tool:1\"\nmemory = 128\ncpu = 128\n")).collect();
    let text = format!("{STACK}\n{more}");
    let lab = Lab::with(|_| fine());
    lab.sandbox.set(Settings { throttle: true, ..Settings::default() });
    assert_eq!(lab.apply(&text).await, Exit::Done);
    assert_eq!(lab.destroy(&text).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_depends_on_the_sample_can_be_taken_down_without_one() {
    let stack = edited("reads = \"S1.fq\"", "reads = \"S1.fq\"\nfrom = \"reads\"\nstep = \"call\"")
        .replace("inputs     = [{ bucket = \"reads\"", "inputs     = [{ bucket = \"${sample.from}\"")
        .replace("name    = \"call\"", "name    = \"${sample.step}\"");
    let lab = Lab::new();
    assert_eq!(lab.apply(&stack).await, Exit::Done);
    assert_eq!(lab.destroy(&stack).await, Exit::Done);
    assert_eq!(lab.left(), Vec::<String>::new());
}
