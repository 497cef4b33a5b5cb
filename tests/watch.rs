//! Watching from elsewhere: `status` and `logs` of runs that go on, that ended, and that nobody drives any more, by clients
//! that share nothing with whoever drives them but the account.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lab;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_ec2::types as ec2;
use lab::{Lab, STACK, edited, fails, fine, wish, yes};
use seqstack::cli::Log;
use seqstack::command::session::Session;
use seqstack::command::{Exit, Problem, logs, status};
use seqstack::report::status::{Status, text};
use seqstack::run::status::{State, StepState};
use seqstack::sandbox::connector::mutates;
use seqstack::sandbox::engine::fake::Outcome;
use seqstack::sandbox::service::Settings;
use seqstack::sandbox::{Fate, Passing};

/// Another machine: nothing under `state/`.
fn elsewhere(lab: &Lab, stack: &str, sample: Option<&str>) -> Session {
    let mut session = lab.session(stack, sample, false);
    session.state_dir = lab.folder.path().join("elsewhere");
    session
}

/// The status as another machine sees it; it changes nothing, there or here.
async fn seen(lab: &Lab, stack: &str) -> (Status, String) {
    let session = elsewhere(lab, stack, None);
    let (header, status) = status::read(&session).await.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(!session.state_dir.exists());
    assert!(session.aws.trace.calls().keys().all(|name| !mutates(name)), "{:?}", session.aws.trace.calls());
    let told = anstream::adapter::strip_str(&text(&header, &status)).to_string();
    (status, told)
}

/// The states of a run's steps.
fn states(status: &Status) -> Vec<StepState> {
    status.runs[0].steps.iter().map(|step| step.state).collect()
}

/// A lab in which `call` takes so many seconds, and what it writes.
fn slow(seconds: u64, lines: usize) -> Lab {
    Lab::with(move |line| match line.split(' ').next() {
        Some("call") => Outcome {
            runs_for: Duration::from_secs(seconds),
            log: (0..lines).map(|n| format!("line {n}")).collect(),
            ..Outcome::default()
        },
        _ => Outcome { log: vec![format!("{line} began")], ..fine() },
    })
}

async fn until_started(lab: &Lab, line: &str) {
    while !lab.started().iter().any(|started| started == line) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The driver has written down the task by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// Applies until this command line has started, and dies.
async fn killed_at(lab: &Lab, line: &str) {
    let session = lab.session(STACK, None, true);
    let (wish, consent) = (wish(), yes());
    tokio::select! {
        exit = Box::pin(seqstack::command::apply::apply(&session, &wish, &consent)) => panic!("{exit:?}"),
        () = until_started(lab, line) => {}
    }
}

fn log(step: &str, follow: bool) -> Log {
    Log { step: step.into(), follow, attempt: None }
}

/// What `logs` puts on stdout.
async fn shown(lab: &Lab, stack: &str, log: &Log) -> Result<Vec<String>, Problem> {
    let session = Session { state_dir: lab.folder.path().join("elsewhere"), ..lab.session(stack, None, true) };
    let lines = Arc::new(Mutex::new(String::new()));
    let mut pass = |text: &str| {
        lines.lock().unwrap().push_str(text);
        Ok(true)
    };
    assert_eq!(logs::logs(&session, log, &mut pass).await?, Exit::Done);
    assert!(!session.state_dir.exists());
    assert!(session.aws.trace.calls().keys().all(|name| !mutates(name)), "{:?}", session.aws.trace.calls());
    let text = lines.lock().unwrap().clone();
    Ok(text.lines().map(str::to_owned).collect())
}

fn counted(lines: usize) -> Vec<String> {
    (0..lines).map(|n| format!("line {n}")).collect()
}

#[tokio::test(start_paused = true)]
async fn before_during_and_after_a_run_its_status_is_what_there_is() {
    let lab = slow(300, 0);
    let (before, told) = seen(&lab, STACK).await;
    assert_eq!(before.runs[0].state, State::NeverRun);
    assert!(told.contains("sample S1  never run") && told.contains("billed by the hour: nothing"), "{told}");

    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        until_started(&lab, "call S1").await;
        tokio::time::sleep(Duration::from_secs(90)).await;
        let (during, told) = seen(&lab, STACK).await;
        let run = &during.runs[0];
        assert_eq!(run.state, State::Running);
        assert_eq!(states(&during), [StepState::Succeeded, StepState::Running, StepState::Waiting]);
        let driver = run.driver.as_ref().unwrap();
        assert!(driver.alive && driver.heard_seconds_ago <= 61 && driver.who.contains("arn:aws:iam"), "{driver:?}");
        let call = &run.steps[1];
        assert_eq!((call.attempt, call.exit_code, call.ecs.as_deref()), (Some(1), None, Some("RUNNING")));
        assert!((90..100).contains(&call.seconds.unwrap()), "{call:?}");
        assert!(call.task_arn.as_ref().unwrap().contains(":task/lab-main/"), "{call:?}");
        assert_eq!((run.steps[0].seconds, run.steps[0].exit_code), (Some(2), Some(0)));
        let machine = &during.instances.as_ref().unwrap()[0];
        assert_eq!(machine.address.as_deref(), Some("instance.worker[S1]"));
        assert!(machine.billed && (90..120).contains(&machine.seconds.unwrap()), "{machine:?}");
        assert!(machine.ends_itself_at.is_some());
        assert_eq!(run.instance.as_ref(), Some(&machine.id));
        for part in ["sample S1  running", "last heard of", "ECS says RUNNING", "0.02 instance-hours", "ends itself at"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    });
    assert_eq!(exit, Exit::Done);

    // ECS has forgotten the tasks by then: the ledger has not.
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let (after, told) = seen(&lab, STACK).await;
    assert_eq!(after.runs[0].state, State::Succeeded);
    assert_eq!(states(&after), [StepState::Succeeded; 3]);
    assert_eq!(after.runs[0].steps[1].seconds, Some(300));
    assert!(after.runs[0].driver.is_none() && after.runs[0].steps.iter().all(|step| step.task_arn.is_some()));
    assert!(told.contains("billed by the hour: nothing"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_says_which_step_and_what_is_billed_since() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(3) } else { fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let (failed, told) = seen(&lab, STACK).await;
    let run = &failed.runs[0];
    assert_eq!((run.state, run.step.as_deref()), (State::Failed, Some("call")));
    assert_eq!(states(&failed), [StepState::Succeeded, StepState::Failed, StepState::NotRun]);
    assert_eq!(run.steps[1].exit_code, Some(3));
    assert!(run.explanation.as_ref().unwrap().contains("exit code 3"), "{told}");
    let machine = &failed.instances.as_ref().unwrap()[0];
    assert!(machine.billed && machine.seconds.unwrap() >= 3600 && machine.seconds.unwrap() < 3700, "{machine:?}");
    assert!(told.contains("1.0") && told.contains("instance-hours"), "{told}");

    // A task that never started is none that failed.
    let lab = Lab::with(|_| Outcome { failed: Some("CannotPullContainerError: no such image".into()), ..fine() });
    assert_eq!(lab.apply(STACK).await, Exit::RunFailed);
    let (failed, _) = seen(&lab, STACK).await;
    assert_eq!(states(&failed), [StepState::NeverStarted, StepState::NotRun, StepState::NotRun]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_drives_any_more_is_seen_to_go_on_to_wait_or_to_be_lost() {
    let lab = slow(900, 0);
    killed_at(&lab, "call S1").await;
    // The driver is dead, its task runs on, and its lease runs out.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (alone, told) = seen(&lab, STACK).await;
    assert_eq!(alone.runs[0].state, State::Running);
    let driver = alone.runs[0].driver.as_ref().unwrap();
    assert!(!driver.alive && driver.heard_seconds_ago >= 600, "{driver:?}");
    assert!(told.contains("driven by nobody"), "{told}");
    let refused =
        seqstack::command::destroy::destroy(&lab.session(STACK, None, false), false, &yes()).await.unwrap_err();
    assert!(refused.to_string().contains("`seqstack status lab.toml --sandbox` shows where it is"), "{refused}");
    // The task has ended, and nobody has written that down.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let (waits, told) = seen(&lab, STACK).await;
    assert_eq!(waits.runs[0].state, State::Interrupted);
    assert_eq!(states(&waits), [StepState::Succeeded, StepState::Succeeded, StepState::Waiting]);
    assert_eq!((waits.runs[0].steps[1].ecs.as_deref(), waits.runs[0].steps[1].seconds), (Some("STOPPED"), Some(900)));
    assert!(told.contains("apply goes on with it"), "{told}");
    // ECS forgets it after an hour; the instance has two until its deadline.
    tokio::time::sleep(Duration::from_secs(4000)).await;
    let (forgotten, _) = seen(&lab, STACK).await;
    assert_eq!(forgotten.runs[0].steps[1].state, StepState::Unknown);

    let lab = slow(900, 0);
    killed_at(&lab, "call S1").await;
    let id = lab.sandbox.with_account(|account, _| account.ec2.instances[0].id.clone());
    lab.aws().ec2.terminate_instances().instance_ids(&id).send().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (lost, told) = seen(&lab, STACK).await;
    assert_eq!(lost.runs[0].state, State::HostLost);
    assert_eq!(states(&lost), [StepState::Succeeded, StepState::HostLost, StepState::NotRun]);
    assert!(told.contains(&format!("the instance {id} is gone")), "{told}");
    assert!(told.contains("billed by the hour: nothing"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_lost_under_its_driver_is_in_the_ledger_and_in_the_status() {
    let lab = slow(300, 0);
    let (exit, ()) = tokio::join!(lab.apply(STACK), async {
        until_started(&lab, "call S1").await;
        // No fresh one is to be had.
        let settings = Settings { no_capacity: vec!["t3.large".into()], ..lab.sandbox.options().settings.clone() };
        lab.sandbox.set(settings);
        let id = lab.sandbox.with_account(|account, _| account.ec2.instances[0].id.clone());
        lab.aws().ec2.terminate_instances().instance_ids(id).send().await.unwrap();
    });
    assert_eq!(exit, Exit::Failed);
    let (lost, _) = seen(&lab, STACK).await;
    assert_eq!(lost.runs[0].state, State::HostLost);
    assert_eq!(states(&lost), [StepState::Succeeded, StepState::HostLost, StepState::NotRun]);
}

#[tokio::test(start_paused = true)]
async fn every_sample_has_its_own_run_and_one_can_be_asked_for() {
    let lab = Lab::new();
    let text = edited("[sample.S1]", "[sample.S2]\nreads = \"S2.fq\"\n[sample.S1]");
    lab.try_apply(&text, seqstack::cli::Wish { sample: Some("S1".into()), ..wish() }).await.unwrap();
    let of = |status: &Status| -> Vec<(String, State)> {
        status.runs.iter().map(|run| (run.sample.clone(), run.state)).collect()
    };
    let (both, _) = seen(&lab, &text).await;
    assert_eq!(of(&both), [("S2".into(), State::NeverRun), ("S1".into(), State::Succeeded)]);
    let (_, one) =
        status::read(&elsewhere(&lab, &text, Some("S1"))).await.unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(of(&one), [("S1".into(), State::Succeeded)]);
    // One that has left the file is told of as long as it has a ledger.
    let (left, _) = seen(&lab, &edited("[sample.S1]", "[sample.S2]")).await;
    assert_eq!(of(&left), [("S2".into(), State::NeverRun), ("S1".into(), State::Succeeded)]);
}

#[tokio::test(start_paused = true)]
async fn what_outlives_its_instance_is_billed_and_shown() {
    let lab = Lab::new();
    let aws = lab.aws();
    let tags = |kind| {
        let tag = |key: &str, value: &str| ec2::Tag::builder().key(key).value(value).build();
        let tags = ec2::TagSpecification::builder().resource_type(kind);
        tags.tags(tag("seqstack:stack", "lab")).tags(tag("seqstack:region", "eu-west-2")).build()
    };
    let images = aws.ec2.describe_images().owners("amazon").send().await.unwrap();
    let disk = ec2::EbsBlockDevice::builder().volume_size(40).delete_on_termination(false).build();
    let made = aws
        .ec2
        .run_instances()
        .image_id(images.images()[0].image_id().unwrap())
        .instance_type("t3.large".into())
        .min_count(1)
        .max_count(1)
        .block_device_mappings(ec2::BlockDeviceMapping::builder().device_name("/dev/sdf").ebs(disk).build())
        .tag_specifications(tags(ec2::ResourceType::Instance))
        .tag_specifications(tags(ec2::ResourceType::Volume))
        .send()
        .await
        .unwrap();
    let id = made.instances()[0].instance_id().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (there, told) = seen(&lab, STACK).await;
    let machine = &there.instances.as_ref().unwrap()[0];
    assert_eq!((machine.id.as_str(), &machine.address, &machine.ends_itself_at), (id.as_str(), &None, &None));
    assert!(told.contains("has no deadline"), "{told}");
    let volume = &there.volumes.as_ref().unwrap()[0];
    assert_eq!((volume.size_gib, volume.attached_to.as_ref()), (40, Some(&id)));
    aws.ec2.terminate_instances().instance_ids(&id).send().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (left, told) = seen(&lab, STACK).await;
    assert_eq!(left.instances.as_deref(), Some(&[][..]));
    let volumes = left.volumes.as_ref().unwrap();
    assert_eq!((volumes.len(), &volumes[0].id, &volumes[0].attached_to), (1, &volume.id, &None));
    assert!(told.contains("attached to nothing"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_known_and_never_taken_for_absent() {
    let mut lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    lab.apply(STACK).await;
    for (call, gone) in [
        ("ec2:DescribeInstances", "which instances there are"),
        ("ec2:DescribeVolumes", "which volumes there are"),
        ("s3:ListObjectsV2", "whose runs are in the bucket"),
        ("s3:GetObject", "ledger.json could not be read"),
    ] {
        let fates = move |passing: &Passing| if passing.name == call { Fate::Failed } else { Fate::Pass };
        lab.wire.fates = Some(Arc::new(fates));
        let (status, told) = seen(&lab, STACK).await;
        let problem = status::known(&status).unwrap_err();
        assert_eq!(problem.exit, Exit::Failed);
        assert!(problem.to_string().contains(gone) && told.contains(gone), "{call}: {problem}: {told}");
        assert!(!told.contains("nothing") && !told.contains("never run"), "{call}: {told}");
    }
    lab.wire.fates = None;
    let (status, _) = seen(&lab, STACK).await;
    assert!(status::known(&status).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_json_keeps_its_shape() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    lab.apply(STACK).await;
    let (status, _) = seen(&lab, STACK).await;
    let json = serde_json::to_value(&status).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!(keys(&json), @"account instances region runs schema stack unknown volumes");
    insta::assert_snapshot!(keys(&json["runs"][0]), @"driver ended_at explanation instance ledger sample seconds started_at state step steps unknown");
    insta::assert_snapshot!(keys(&json["runs"][0]["steps"][0]), @"attempt ecs exit_code explanation name seconds state task_arn");
    insta::assert_snapshot!(keys(&json["instances"][0]), @"address billed ends_itself_at id launched_at seconds state type");
    assert_eq!((&json["schema"], &json["runs"][0]["state"]), (&1.into(), &"failed".into()));
    assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
}

#[tokio::test(start_paused = true)]
async fn a_finished_steps_log_is_whole_and_in_order_however_many_pages_it_has() {
    let lab = slow(60, 25_000);
    assert_eq!(lab.apply(STACK).await, Exit::Done);
    assert!(shown(&lab, STACK, &log("call", false)).await.unwrap() == counted(25_000));
    let began = tokio::time::Instant::now();
    assert_eq!(shown(&lab, STACK, &log("pull", true)).await.unwrap(), ["pull S1 began"]);
    assert!(began.elapsed() < Duration::from_secs(5), "it has been over for long: nothing is waited for");
    // Who reads the first page only is asked for no more.
    let session = lab.session(STACK, None, true);
    let mut pages = 0;
    let mut pass = |_: &str| {
        pages += 1;
        Ok(false)
    };
    assert_eq!(logs::logs(&session, &log("call", true), &mut pass).await.unwrap(), Exit::Done);
    assert_eq!(pages, 1);
    assert_eq!(session.aws.trace.calls()["CloudWatch Logs:GetLogEvents"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_running_steps_log_is_followed_to_its_last_late_line() {
    let lab = slow(100, 12_000);
    let call = log("call", true);
    let (exit, (), all) = tokio::join!(
        lab.apply(STACK),
        async {
            until_started(&lab, "call S1").await;
            tokio::time::sleep(Duration::from_secs(50)).await;
            let part = shown(&lab, STACK, &log("call", false)).await.unwrap();
            assert!((6_000..7_000).contains(&part.len()) && part == counted(part.len()), "{}", part.len());
            // A line that comes some seconds after the task has stopped.
            while lab.started().len() < 3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            tokio::time::sleep(Duration::from_secs(4)).await;
            let arn = seen(&lab, STACK).await.0.runs[0].steps[1].task_arn.clone().unwrap();
            let (aws, group) = (lab.aws(), "/seqstack/lab/pipeline");
            let streams = aws.logs.describe_log_streams().log_group_name(group).send().await.unwrap();
            let task = arn.rsplit('/').next().unwrap();
            let stream = streams.log_streams().iter().find(|one| one.log_stream_name().unwrap().ends_with(task));
            let at = lab.sandbox.clock().now().as_millisecond();
            let event = aws_sdk_cloudwatchlogs::types::InputLogEvent::builder().timestamp(at).message("late").build();
            let put = aws.logs.put_log_events().log_group_name(group).log_events(event.unwrap());
            put.log_stream_name(stream.unwrap().log_stream_name().unwrap()).send().await.unwrap();
        },
        async {
            // Asked for before there is a task: waited for.
            until_started(&lab, "pull S1").await;
            shown(&lab, STACK, &call).await.unwrap()
        }
    );
    assert_eq!(exit, Exit::Done);
    let mut expected = counted(12_000);
    expected.push("late".into());
    assert_eq!(all.len(), expected.len());
    assert!(all == expected);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_log_and_what_never_ran_has_none() {
    let tries = Mutex::new(0);
    let lab = Lab::with(move |line| {
        let mut tries = tries.lock().unwrap();
        *tries += usize::from(line.starts_with("call"));
        match *tries {
            1 => Outcome { log: vec!["the first".into()], ..fails(1) },
            2 if line.starts_with("call") => {
                Outcome { failed: Some("CannotPullContainerError: not found".into()), ..fine() }
            }
            _ => Outcome { log: vec!["the last".into()], ..fine() },
        }
    });
    let nth = |n| Log { attempt: Some(n), ..log("call", false) };
    let retry = || seqstack::cli::Wish { retry: true, ..wish() };
    lab.apply(STACK).await;
    assert_eq!(shown(&lab, STACK, &log("call", false)).await.unwrap(), ["the first"]);
    assert_eq!(lab.try_apply(STACK, retry()).await.unwrap(), Exit::RunFailed);
    let nothing = shown(&lab, STACK, &log("call", false)).await.unwrap_err();
    assert!(nothing.text.contains("CannotPullContainerError") && nothing.text.contains("attempt 2"), "{nothing}");
    assert!(nothing.hint.as_ref().unwrap().contains("--attempt 1"), "{nothing}");
    assert_eq!(lab.try_apply(STACK, retry()).await.unwrap(), Exit::Done);
    assert_eq!(shown(&lab, STACK, &log("call", false)).await.unwrap(), ["the last"]);
    assert_eq!(shown(&lab, STACK, &nth(1)).await.unwrap(), ["the first"]);
    let none = shown(&lab, STACK, &nth(9)).await.unwrap_err();
    assert_eq!(
        (none.text.as_str(), none.hint.as_deref()),
        ("there is no attempt 9 at step `call`", Some("the ledger has 1, 2, 3"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_shown_says_why_and_what_to_do() {
    let lab = Lab::with(|line| if line.starts_with("call") { fails(1) } else { fine() });
    let never = shown(&lab, STACK, &log("call", true)).await.unwrap_err();
    assert!(never.text.contains("never started: its pipeline has never run"), "{never}");
    lab.apply(STACK).await;
    let typo = shown(&lab, STACK, &log("cal", false)).await.unwrap_err();
    assert_eq!(typo.to_string(), "error: there is no step `cal`\nhint: did you mean `call`?");
    let unlike = shown(&lab, STACK, &log("x", false)).await.unwrap_err();
    assert_eq!(unlike.hint.as_deref(), Some("the steps are: pull, call, push"));
    let after = shown(&lab, STACK, &log("push", true)).await.unwrap_err();
    assert!(after.text.contains("step `call` of the last run failed before it (exit code 1)"), "{after}");
    lab.aws().logs.delete_log_group().log_group_name("/seqstack/lab/pipeline").send().await.unwrap();
    let asked = tokio::time::Instant::now();
    let gone = shown(&lab, STACK, &log("call", false)).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(gone.text.contains("/seqstack/lab/pipeline does not exist any more"), "{gone}");
    lab.aws().logs.create_log_group().log_group_name("/seqstack/lab/pipeline").send().await.unwrap();
    let empty = shown(&lab, STACK, &log("call", false)).await.unwrap_err();
    assert!(empty.text.contains("has written nothing"), "{empty}");

    let lab = Lab::new();
    let silent = edited("log_group      = \"pipeline\"\n", "");
    lab.apply(&silent).await;
    let none = shown(&lab, &silent, &log("call", false)).await.unwrap_err();
    assert!(none.text.contains("keeps no log") && none.hint.unwrap().contains("log_group"));
}
