//! A bench for the services' tests: an account, a clock moved by hand, and an engine whose tasks follow a script.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::account::{Account, Whole};
use super::engine::Launch;
use super::engine::fake::{Fake, Outcome};
use super::images;
use super::service::{Answer, ApiError, Cx, Options, Settings};
use super::{ec2, ecs, iam, logs, members, operations, ssm};

/// The bench.
pub struct Bench {
    pub whole: Whole,
    pub cx: Cx,
    pub fake: Arc<Fake>,
}

const REGION: &str = "eu-west-2";

/// The role that tasks run as.
pub const ROLE: &str = "arn:aws:iam::123456789012:role/seqstack/eu-west-2/s/s-input";

/// The answer; an error that the service does not list for its operation is a failed test.
pub fn listed(service: &str, operation: &str, answer: Answer) -> Answer {
    if let Err(error) = &answer
        && let Some((_, codes)) = operations(service).iter().find(|(name, _)| *name == operation)
    {
        assert!(codes.contains(&error.code), "{service}:{operation} gave {}, which is not listed", error.code);
    }
    answer
}

impl Bench {
    pub fn new(script: impl Fn(&Launch) -> Outcome + Send + Sync + 'static) -> Self {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let settings = Settings {
            boot: Duration::from_secs(10),
            registration: Duration::from_secs(20),
            termination: Duration::from_secs(30),
            visibility: Duration::from_secs(1),
            no_capacity: vec!["m5.4xlarge".to_owned()],
            ..Settings::default()
        };
        let options = Options { settings, ..Options::default() };
        let mut whole = Whole::new(&options);
        let fake = Arc::new(Fake::new(script));
        let cx =
            Cx { now, options: Arc::new(options), engine: fake.clone(), endpoint: "http://127.0.0.1:4566".to_owned() };
        // Made a while ago, so that EC2 knows the profile.
        let before = Cx { now: "2026-01-02T03:00:00Z".parse().unwrap(), ..cx.clone() };
        let path = "/seqstack/eu-west-2/s/";
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
        for (operation, input) in [
            ("CreateRole", json!({"RoleName": "s-input", "Path": path, "AssumeRolePolicyDocument": trust})),
            ("CreateInstanceProfile", json!({"InstanceProfileName": "s-instance", "Path": path})),
            (
                "AttachRolePolicy",
                json!({
                    "RoleName": "s-input",
                    "PolicyArn": "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role",
                }),
            ),
            ("AddRoleToInstanceProfile", json!({"InstanceProfileName": "s-instance", "RoleName": "s-input"})),
        ] {
            iam::handle(&mut whole.at(REGION), &before, operation, input)
                .unwrap_or_else(|error| panic!("{operation}: {error:?}"));
        }
        Self { whole, cx, fake }
    }

    pub fn account(&mut self) -> Account<'_> {
        self.whole.at(REGION)
    }

    /// Moves the clock, then lets time pass as each request does.
    pub fn wait(&mut self, seconds: u64) {
        self.cx.now = self.cx.now.checked_add(Duration::from_secs(seconds)).unwrap();
        self.settle();
    }

    pub fn settle(&mut self) {
        let cx = self.cx.clone();
        self.account().settle(&cx);
    }

    pub fn try_ec2(&mut self, operation: &str, input: Value) -> Answer {
        self.settle();
        members::check("ec2", operation, &input)?;
        listed("ec2", operation, ec2::handle(&mut self.whole.at(REGION), &self.cx, operation, input))
    }

    pub fn ec2(&mut self, operation: &str, input: Value) -> Value {
        self.try_ec2(operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    pub fn ec2_refuses(&mut self, operation: &str, input: Value) -> &'static str {
        self.try_ec2(operation, input).unwrap_err().code
    }

    pub fn try_ecs(&mut self, operation: &str, input: Value) -> Answer {
        self.settle();
        members::check("ecs", operation, &input)?;
        listed("ecs", operation, ecs::handle(&mut self.whole.at(REGION), &self.cx, operation, input))
    }

    pub fn ecs(&mut self, operation: &str, input: Value) -> Value {
        self.try_ecs(operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    pub fn ecs_refuses(&mut self, operation: &str, input: Value) -> ApiError {
        self.try_ecs(operation, input).unwrap_err()
    }

    pub fn try_iam(&mut self, operation: &str, input: Value) -> Answer {
        members::check("iam", operation, &input)?;
        listed("iam", operation, iam::handle(&mut self.whole.at(REGION), &self.cx, operation, input))
    }

    pub fn try_ssm(&mut self, operation: &str, input: Value) -> Answer {
        members::check("ssm", operation, &input)?;
        listed("ssm", operation, ssm::handle(&mut self.whole.at(REGION), &self.cx, operation, input))
    }

    pub fn try_logs(&mut self, operation: &str, input: Value) -> Answer {
        self.settle();
        members::check("logs", operation, &input)?;
        listed("logs", operation, logs::handle(&mut self.whole.at(REGION), &self.cx, operation, input))
    }

    pub fn logs(&mut self, operation: &str, input: Value) -> Value {
        self.try_logs(operation, input).unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    /// RunInstances' parameters for an instance of the cluster `main`.
    pub fn launch(token: &str) -> Value {
        json!({
            "MinCount": "1", "MaxCount": "1", "ImageId": images::of(REGION)[0].id, "InstanceType": "r6i.large",
            "ClientToken": token, "IamInstanceProfile": {"Name": "s-instance"},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"InstanceMetadataTags": "enabled"},
            "UserData": STANDARD.encode("#!/bin/sh\necho ECS_CLUSTER=main >> /etc/ecs/ecs.config\n"),
            "BlockDeviceMapping": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": "50", "Encrypted": "true"}}],
            "TagSpecification": [
                {"ResourceType": "instance", "Tag": [{"Key": "seqstack:stack", "Value": "s"}]},
                {"ResourceType": "volume", "Tag": [{"Key": "seqstack:stack", "Value": "s"}]},
            ],
        })
    }

    pub fn run_instance(&mut self, token: &str) -> String {
        let answer = self.ec2("RunInstances", Self::launch(token));
        answer["instancesSet"][0]["instanceId"].as_str().unwrap().to_owned()
    }

    pub fn instance_state(&mut self, id: &str) -> String {
        let answer = self.ec2("DescribeInstances", json!({"InstanceId": [id]}));
        answer["reservationSet"][0]["instancesSet"][0]["instanceState"]["name"].as_str().unwrap().to_owned()
    }

    /// The cluster `main` with one registered instance, a log group, and the task definition `bwa`.
    pub fn ready(&mut self) -> String {
        self.ecs("CreateCluster", json!({"clusterName": "main"}));
        let id = self.run_instance("t-0");
        self.wait(31);
        self.logs("CreateLogGroup", json!({"logGroupName": "/s/pipeline"}));
        self.ecs(
            "RegisterTaskDefinition",
            json!({
                "family": "bwa", "networkMode": "host", "cpu": "1024", "memory": "8192",
                "volumes": [{"name": "data", "host": {"sourcePath": "/var/lib/seqstack/data"}}],
                "containerDefinitions": [{
                    "name": "bwa", "image": "biocontainers/bwa:v1", "memory": 8192, "user": "1000",
                    "workingDirectory": "/data", "environment": [{"name": "A", "value": "1"}],
                    "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
                    "logConfiguration": {"logDriver": "awslogs", "options": {
                        "awslogs-group": "/s/pipeline", "awslogs-region": "eu-west-2", "awslogs-stream-prefix": "run",
                    }},
                }],
            }),
        );
        id
    }

    /// RunTask's parameters for `bwa` on an instance.
    pub fn task(instance: &str, token: &str) -> Value {
        json!({
            "cluster": "main", "taskDefinition": "bwa", "clientToken": token, "startedBy": "abc",
            "placementConstraints": [{"type": "memberOf", "expression": format!("ec2InstanceId == {instance}")}],
            "overrides": {
                "taskRoleArn": ROLE,
                "containerOverrides": [{
                    "name": "bwa", "command": ["mem", "x"], "environment": [{"name": "B", "value": "2"}],
                }],
            },
        })
    }

    pub fn run_task(&mut self, instance: &str, token: &str) -> String {
        let answer = self.ecs("RunTask", Self::task(instance, token));
        answer["tasks"][0]["taskArn"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub fn describe_task(&mut self, arn: &str) -> Value {
        self.ecs("DescribeTasks", json!({"cluster": "main", "tasks": [arn]}))["tasks"][0].clone()
    }
}
