use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, ROLE};
use crate::engine::fake::Outcome;

fn minute(code: i32) -> Outcome {
    Outcome {
        runs_for: Duration::from_secs(60),
        code,
        log: vec!["one".to_owned(), "two".to_owned()],
        ..Outcome::default()
    }
}

#[test]
fn a_task_runs_and_is_forgotten_an_hour_later() {
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    let mut bench = Bench::new(move |_| {
        let seen = seen.clone();
        Outcome { effect: Some(Box::new(move || seen.store(true, Ordering::SeqCst))), ..minute(3) }
    });
    let instance = bench.ready();
    let arn = bench.run_task(&instance, "token");
    let id = arn.rsplit('/').next().unwrap().to_owned();
    assert_eq!(bench.describe_task(&arn)["lastStatus"], "RUNNING");
    let launch = bench.fake.launches().remove(0);
    assert_eq!(launch.command, Some(vec!["mem".to_owned(), "x".to_owned()]));
    assert_eq!((launch.environment["A"].as_str(), launch.environment["B"].as_str()), ("1", "2"));
    assert_eq!(launch.mounts, [("/var/lib/seqstack/data".to_owned(), "/data".to_owned(), false)]);
    assert_eq!((launch.memory_mib, launch.instance.as_str()), (8192, instance.as_str()));
    assert_eq!(
        launch.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        format!("http://127.0.0.1:4566/_seqstack/credentials/{id}")
    );
    let credentials = bench.whole.session(&id).unwrap();
    assert_eq!(credentials.role, ROLE);
    assert_eq!(credentials.authorization, launch.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]);
    assert!(!done.load(Ordering::SeqCst));
    bench.wait(60);
    assert!(done.load(Ordering::SeqCst));
    let task = bench.describe_task(&arn);
    assert_eq!(task["lastStatus"], "STOPPED");
    assert_eq!(task["stopCode"], "EssentialContainerExited");
    assert_eq!(task["containers"][0]["exitCode"], 3);
    assert!(bench.account().sessions.is_empty());
    let stopped = json!({"cluster": "main", "startedBy": "abc", "desiredStatus": "STOPPED"});
    assert_eq!(bench.ecs("ListTasks", stopped)["taskArns"], json!([arn]));
    assert_eq!(bench.ecs("ListTasks", json!({"cluster": "main", "startedBy": "abc"}))["taskArns"], json!([]));
    bench.wait(3600);
    let gone = bench.ecs("DescribeTasks", json!({"cluster": "main", "tasks": [arn]}));
    assert_eq!(gone["failures"][0]["reason"], "MISSING");
}

#[test]
fn client_tokens() {
    let mut bench = Bench::new(|_| minute(0));
    let instance = bench.ready();
    let arn = bench.run_task(&instance, "t");
    assert_eq!(bench.run_task(&instance, "t"), arn);
    assert_eq!(bench.fake.launches().len(), 1);
    let mut other = Bench::task(&instance, "t");
    other["startedBy"] = json!("other");
    let conflict = bench.ecs_refuses("RunTask", other);
    assert_eq!(conflict.code, "ConflictException");
    assert_eq!(conflict.more, Some(json!({"resourceIds": [arn]})));
    bench.wait(60);
    assert_eq!(bench.run_task(&instance, "t"), arn);
    bench.wait(3600);
    assert_ne!(bench.run_task(&instance, "t"), arn);
}

#[test]
fn placement() {
    let mut bench = Bench::new(|_| minute(0));
    bench.ecs("CreateCluster", json!({"clusterName": "main"}));
    bench.ecs(
        "RegisterTaskDefinition",
        json!({"family": "bwa", "containerDefinitions": [
        {"name": "bwa", "image": "i", "memory": 64}]}),
    );
    let empty = bench.ecs_refuses("RunTask", json!({"cluster": "main", "taskDefinition": "bwa"}));
    assert_eq!(
        (empty.code, empty.message.as_str()),
        ("InvalidParameterException", "No Container Instances were found in your cluster.")
    );
    let instance = bench.ready();
    let reason = |answer: Value| answer["failures"][0]["reason"].as_str().unwrap().to_owned();
    let elsewhere = bench.ecs("RunTask", Bench::task("i-0123456789abcdef0", "a"));
    assert_eq!(reason(elsewhere), "MemberOf placement constraint unsatisfied.");
    // An r6i.large has 2048 cpu units and 97.5 % of 16384 MiB.
    bench.run_task(&instance, "b");
    let registered = bench.ecs(
        "ListContainerInstances",
        json!({"cluster": "main",
        "filter": format!("ec2InstanceId in [{instance}]")}),
    );
    let shown = bench.ecs(
        "DescribeContainerInstances",
        json!({"cluster": "main", "containerInstances": registered["containerInstanceArns"]}),
    );
    let shown = &shown["containerInstances"][0];
    assert_eq!(shown["registeredResources"][1]["integerValue"], 15974);
    assert_eq!(shown["remainingResources"][1]["integerValue"], 15974 - 8192);
    assert_eq!(shown["remainingResources"][0]["integerValue"], 1024);
    assert_eq!(reason(bench.ecs("RunTask", Bench::task(&instance, "c"))), "RESOURCE:MEMORY");
    let mut big = Bench::task(&instance, "d");
    big["overrides"]["cpu"] = json!("2048");
    assert_eq!(reason(bench.ecs("RunTask", big)), "RESOURCE:CPU");
    bench.wait(60);
    bench.run_task(&instance, "c");
    bench.ec2("StopInstances", json!({"InstanceId": [instance]}));
    assert_eq!(reason(bench.ecs("RunTask", Bench::task(&instance, "e"))), "AGENT");
}

#[test]
fn a_task_whose_host_is_lost_has_no_exit_code_and_keeps_its_log() {
    let mut bench = Bench::new(|_| minute(0));
    let instance = bench.ready();
    let arn = bench.run_task(&instance, "t");
    bench.wait(25);
    bench.ec2("TerminateInstances", json!({"InstanceId": [instance]}));
    bench.wait(30);
    let task = bench.describe_task(&arn);
    assert_eq!(task["lastStatus"], "STOPPED");
    assert_eq!(task["stoppedReason"], format!("Host EC2 (instance {instance}) terminated."));
    assert_eq!(task["containers"][0]["exitCode"], Value::Null);
    let id = arn.rsplit('/').next().unwrap();
    let log = bench.logs(
        "GetLogEvents",
        json!({"logGroupName": "/s/pipeline", "logStreamName": format!("run/bwa/{id}"), "startFromHead": true}),
    );
    assert_eq!(log["events"].as_array().unwrap().len(), 2);
    bench.ecs("DeleteCluster", json!({"cluster": "main"}));
}

#[test]
fn stopping_failing_and_running_out_of_memory() {
    let mut bench = Bench::new(|launch| match launch.command.as_deref().map(|words| words[1].clone()).as_deref() {
        Some("pull") => {
            Outcome { failed: Some("CannotPullContainerError: no such image".to_owned()), ..Outcome::default() }
        }
        Some("oom") => Outcome { out_of_memory: true, code: 137, ..Outcome::default() },
        _ => minute(0),
    });
    let instance = bench.ready();
    let arn = bench.run_task(&instance, "a");
    bench.wait(5);
    bench.ecs("StopTask", json!({"cluster": "main", "task": arn, "reason": "cancelled"}));
    let task = bench.describe_task(&arn);
    assert_eq!(
        (&task["lastStatus"], &task["stopCode"], &task["stoppedReason"]),
        (&json!("STOPPED"), &json!("UserInitiated"), &json!("cancelled"))
    );
    assert_eq!(task["containers"][0]["exitCode"], 143);
    let mut ended = |word: &str| {
        let mut input = Bench::task(&instance, word);
        input["overrides"]["containerOverrides"][0]["command"] = json!(["mem", word]);
        let arn = bench.ecs("RunTask", input)["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
        bench.describe_task(&arn)
    };
    let unpulled = ended("pull");
    assert_eq!(unpulled["stopCode"], "TaskFailedToStart");
    assert_eq!(unpulled["containers"][0]["reason"], "CannotPullContainerError: no such image");
    assert_eq!(unpulled["containers"][0]["exitCode"], Value::Null);
    let killed = ended("oom");
    assert_eq!(killed["containers"][0]["reason"], "OutOfMemoryError: Container killed due to memory usage");
    bench.logs("DeleteLogGroup", json!({"logGroupName": "/s/pipeline"}));
    let arn = bench.run_task(&instance, "z");
    let unlogged = bench.describe_task(&arn);
    assert!(unlogged["stoppedReason"].as_str().unwrap().starts_with("CannotStartContainerError"), "{unlogged}");
    let mut nobody = Bench::task(&instance, "y");
    nobody["overrides"]["taskRoleArn"] = json!("arn:aws:iam::123456789012:role/nobody");
    assert_eq!(bench.ecs_refuses("RunTask", nobody).code, "ClientException");
}

#[test]
fn a_cluster_in_use_stays() {
    let mut bench = Bench::new(|_| minute(0));
    let instance = bench.ready();
    assert_eq!(
        bench.ecs_refuses("DeleteCluster", json!({"cluster": "main"})).code,
        "ClusterContainsContainerInstancesException"
    );
    let again = bench.ecs("CreateCluster", json!({"clusterName": "main", "tags": [{"key": "a", "value": "b"}]}));
    assert_eq!(again["cluster"]["tags"], json!([]));
    bench.run_task(&instance, "t");
    let all = bench.ecs("ListContainerInstances", json!({"cluster": "main"}))["containerInstanceArns"][0].clone();
    let held = json!({"cluster": "main", "containerInstance": all});
    assert_eq!(bench.ecs_refuses("DeregisterContainerInstance", held).code, "InvalidParameterException");
    bench.wait(60);
    bench.ecs("DeregisterContainerInstance", json!({"cluster": "main", "containerInstance": all, "force": true}));
    bench.ecs("DeleteCluster", json!({"cluster": "main"}));
    let shown = bench.ecs("DescribeClusters", json!({"clusters": ["main", "other"]}));
    assert_eq!(shown["clusters"][0]["status"], "INACTIVE");
    assert_eq!(shown["failures"][0]["reason"], "MISSING");
    assert_eq!(bench.ecs("ListClusters", json!({}))["clusterArns"], json!([]));
    assert_eq!(bench.ecs_refuses("RunTask", Bench::task(&instance, "u")).code, "ClusterNotFoundException");
}

#[test]
fn revisions_are_never_used_again() {
    let mut bench = Bench::new(|_| minute(0));
    let one = |family: &str| {
        json!({"family": family, "tags": [{"key": "k", "value": "v"}],
        "containerDefinitions": [{"name": "c", "image": "i", "memory": 64}]})
    };
    for family in ["a", "a", "ab"] {
        bench.ecs("RegisterTaskDefinition", one(family));
    }
    let list = |bench: &mut Bench, input: Value| {
        bench.ecs("ListTaskDefinitions", input)["taskDefinitionArns"].as_array().unwrap().len()
    };
    assert_eq!(list(&mut bench, json!({"familyPrefix": "a"})), 2);
    assert_eq!(bench.ecs("ListTaskDefinitionFamilies", json!({"familyPrefix": "a"}))["families"], json!(["a", "ab"]));
    let newest = bench.ecs("DescribeTaskDefinition", json!({"taskDefinition": "a", "include": ["TAGS"]}));
    assert_eq!(newest["taskDefinition"]["revision"], 2);
    assert_eq!(newest["tags"], json!([{"key": "k", "value": "v"}]));
    let failed = bench.ecs("DeleteTaskDefinitions", json!({"taskDefinitions": ["a:2"]}));
    assert!(failed["failures"][0]["reason"].as_str().unwrap().contains("ACTIVE"));
    bench.ecs("DeregisterTaskDefinition", json!({"taskDefinition": "a:2"}));
    assert_eq!(bench.ecs("DescribeTaskDefinition", json!({"taskDefinition": "a"}))["taskDefinition"]["revision"], 1);
    bench.ecs("DeleteTaskDefinitions", json!({"taskDefinitions": ["a:2"]}));
    assert_eq!(
        bench.ecs_refuses("DescribeTaskDefinition", json!({"taskDefinition": "a:2"})).message,
        "Unable to describe task definition."
    );
    assert_eq!(bench.ecs("RegisterTaskDefinition", one("a"))["taskDefinition"]["revision"], 3);
}

#[test]
fn a_token_lives_for_a_day_at_most() {
    let mut bench = Bench::new(|_| Outcome { runs_for: Duration::from_secs(48 * 3600), ..Outcome::default() });
    let instance = bench.ready();
    let mut small = Bench::task(&instance, "t");
    small["overrides"]["memory"] = json!("512");
    small["overrides"]["cpu"] = json!("128");
    small["overrides"]["containerOverrides"][0]["memory"] = json!(512);
    let run = |bench: &mut Bench| bench.ecs("RunTask", small.clone())["tasks"][0]["taskArn"].clone();
    let first = run(&mut bench);
    bench.wait(24 * 3600 - 1);
    assert_eq!(run(&mut bench), first);
    bench.wait(1);
    assert_ne!(run(&mut bench), first);
}

#[test]
fn containers_of_one_task() {
    let mut bench = Bench::new(|launch| match launch.command.as_deref() {
        Some([word]) if word == "main" => minute(4),
        _ => Outcome { runs_for: Duration::from_secs(600), ..Outcome::default() },
    });
    bench.ready();
    let one = |name: &str, essential: bool| {
        json!({"name": name, "image": "i", "memory": 100, "memoryReservation": 64, "cpu": 10, "command": [name],
            "essential": essential})
    };
    let several = json!({"family": "two", "containerDefinitions": [one("main", true), one("side", false)]});
    bench.ecs("RegisterTaskDefinition", several);
    let answer = bench.ecs("RunTask", json!({"cluster": "main", "taskDefinition": "two"}));
    let arn = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    let id = arn.rsplit('/').next().unwrap();
    let names: Vec<String> = bench.fake.launches().into_iter().map(|launch| launch.task).collect();
    assert_eq!(names, [id.to_owned(), format!("{id}-1")]);
    let host = answer["tasks"][0]["containerInstanceArn"].clone();
    let shown = bench.ecs("DescribeContainerInstances", json!({"cluster": "main", "containerInstances": [host]}));
    let left = &shown["containerInstances"][0]["remainingResources"];
    assert_eq!((&left[0]["integerValue"], &left[1]["integerValue"]), (&json!(2048 - 20), &json!(15974 - 128)));
    bench.wait(59);
    assert_eq!(bench.describe_task(&arn)["lastStatus"], "RUNNING");
    bench.wait(1);
    let task = bench.describe_task(&arn);
    assert_eq!((&task["lastStatus"], &task["stopCode"]), (&json!("STOPPED"), &json!("EssentialContainerExited")));
    let codes: Vec<&Value> = task["containers"].as_array().unwrap().iter().map(|one| &one["exitCode"]).collect();
    assert_eq!(codes, [4, 143]);
}

#[test]
fn a_terminated_instance_is_forgotten_an_hour_later() {
    let mut bench = Bench::new(|_| minute(0));
    let instance = bench.ready();
    let arn = bench.ecs("ListContainerInstances", json!({"cluster": "main"}))["containerInstanceArns"][0].clone();
    let wanted = json!({"cluster": "main", "containerInstances": [arn]});
    bench.ec2("TerminateInstances", json!({"InstanceId": [instance]}));
    let shown = bench.ecs("DescribeContainerInstances", wanted.clone());
    assert_eq!(shown["containerInstances"][0]["status"], "INACTIVE");
    bench.wait(30);
    bench.wait(3600);
    assert_eq!(bench.ecs("DescribeContainerInstances", wanted)["failures"][0]["reason"], "MISSING");
}

/// The attachment that lets an agent register goes: no agent of its role registers, and those that did are not heard.
#[test]
fn an_agent_has_the_rights_of_its_role() {
    let mut bench = Bench::new(|_| Outcome::default());
    let agent = json!({
        "RoleName": "s-input",
        "PolicyArn": "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role",
    });
    let listed = |bench: &mut Bench| {
        let arns = bench.ecs("ListContainerInstances", json!({"cluster": "main"}))["containerInstanceArns"].clone();
        arns.as_array().unwrap().clone()
    };
    bench.try_iam("DetachRolePolicy", agent.clone()).unwrap();
    bench.ready();
    assert!(listed(&mut bench).is_empty());
    bench.try_iam("AttachRolePolicy", agent.clone()).unwrap();
    let [one] = listed(&mut bench).try_into().unwrap();
    let connected = |bench: &mut Bench| {
        let asked = json!({"cluster": "main", "containerInstances": [one]});
        bench.ecs("DescribeContainerInstances", asked)["containerInstances"][0]["agentConnected"].clone()
    };
    assert_eq!(connected(&mut bench), true);
    bench.try_iam("DetachRolePolicy", agent).unwrap();
    assert_eq!(connected(&mut bench), false);
}
