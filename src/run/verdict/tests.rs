//! Real stops, each with where it was seen, and what must be made of it.

use super::*;
use crate::run::attempts::{Sort, sort};

const EXITED: &str = "EssentialContainerExited";
const NOT_STARTED: &str = "TaskFailedToStart";
const ESSENTIAL: &str = "Essential container in task exited";
const STARTING: &str = "Task failed to start";
const MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

fn end(code: &str, task: &str, container: &str, exit: Option<i32>, started: bool) -> TaskEnd {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    TaskEnd {
        stop_code: text(code),
        stopped_reason: text(task),
        container_reason: text(container),
        exit_code: exit,
        started_at: started.then_some(Timestamp::UNIX_EPOCH),
        ended_at: Some(Timestamp::UNIX_EPOCH),
        ..TaskEnd::default()
    }
}

/// Stop code, reason of the task, reason of the container, exit code, whether it had started; the verdict, whether it is
/// tried again (in one run), and a word that the explanation or the advice must have.
type Row = (&'static str, &'static str, &'static str, Option<i32>, bool, &'static str, &'static str, &'static str);

/// It ran and failed: again as often as `attempts` says.
const ATTEMPTS: &str = "attempts";
/// It did not start: again, three times in all.
const TRIES: &str = "tries";
/// Not in this run.
const NO: &str = "no";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // ECS API, Container.exitCode; the sandbox's tasks under Docker and bubblewrap.
    (EXITED, ESSENTIAL, "", Some(0), true, "succeeded", NO, "0"),
    (EXITED, ESSENTIAL, "", Some(1), true, "failed with exit code 1", ATTEMPTS, "--retry"),
    // So short that the agent never reported RUNNING: it ran all the same.
    (EXITED, ESSENTIAL, "", Some(0), false, "succeeded", NO, "0"),
    (EXITED, ESSENTIAL, "", Some(2), false, "failed with exit code 2", ATTEMPTS, "log"),
    // Docker's `run` documentation, exit status 125, 126, 127.
    (EXITED, ESSENTIAL, "", Some(125), true, "failed with exit code 125", ATTEMPTS, "could not be run"),
    (EXITED, ESSENTIAL, "", Some(126), true, "failed with exit code 126", ATTEMPTS, "cannot be executed"),
    (EXITED, ESSENTIAL, "", Some(127), true, "failed with exit code 127", ATTEMPTS, "not found"),
    // moby#21083: SIGKILL, by whom Docker does not say.
    (EXITED, ESSENTIAL, "", Some(137), true, "failed with exit code 137", ATTEMPTS, "memory"),
    (EXITED, ESSENTIAL, "", Some(134), true, "failed with exit code 134", ATTEMPTS, "signal 6"),
    (EXITED, ESSENTIAL, "", Some(139), true, "failed with exit code 139", ATTEMPTS, "SIGSEGV"),
    (EXITED, ESSENTIAL, "", Some(143), true, "failed with exit code 143", ATTEMPTS, "SIGTERM"),
    (EXITED, ESSENTIAL, "", Some(255), true, "failed with exit code 255", ATTEMPTS, "255"),
    // ECS developer guide, "Stopped tasks error messages", OutOfMemoryError; amazon-ecs-agent#1187.
    (EXITED, ESSENTIAL, MEMORY, Some(137), true, "ran out of memory", ATTEMPTS, "memory_factor"),
    // amazon-ecs-agent#2467: with exit code 0, or any other.
    (EXITED, ESSENTIAL, MEMORY, Some(0), true, "ran out of memory", ATTEMPTS, "hides it"),
    (EXITED, ESSENTIAL, MEMORY, Some(1), true, "ran out of memory", ATTEMPTS, "hides it"),
    (EXITED, ESSENTIAL, MEMORY, None, true, "ran out of memory", ATTEMPTS, "`memory`"),
    // The guide's spelling of the same as the task's own reason.
    (EXITED, "OutOfMemoryError: container killed due to memory usage", "", Some(137), true, "ran out of memory", ATTEMPTS, "`memory`"),
    // aws-facts: an instance that went away.
    ("TerminationNotice", "Host EC2 (instance i-0abc) terminated.", "", None, true, "lost its instance", NO, "i-0abc"),
    ("", "Host EC2 (instance i-0abc) terminated.", "", None, true, "lost its instance", NO, "terminated"),
    ("", "Host EC2 (instance i-0abc) stopped.", "", None, true, "lost its instance", NO, "stopped"),
    // The same before the container ran.
    ("TerminationNotice", "Host EC2 (instance i-0abc) terminated.", "", None, false, "lost its instance", NO, "fresh|new instance"),
    // ECS API, TaskStopCode; spot-interrupted programs may exit in good order.
    ("SpotInterruption", "Your Spot Task was interrupted.", "", Some(143), true, "lost its instance", NO, "interrupted"),
    ("SpotInterruption", "", "", Some(0), true, "lost its instance", NO, "SpotInterruption"),
    ("InfrastructureHealth", "", "", None, false, "lost its instance", NO, "InfrastructureHealth"),
    // ECS developer guide, task retirement.
    ("TerminationNotice", "ECS is performing maintenance on the underlying infrastructure hosting the task.", "", Some(143), true, "lost its instance", NO, "maintenance"),
    // ECS API, DeregisterContainerInstance with force.
    (NOT_STARTED, "Container instance deregistration forced by user", "", None, true, "lost its instance", NO, "deregistration"),
    // ECS API, StopTask; a program may catch SIGTERM and exit with 0.
    ("UserInitiated", "Task stopped by user", "", Some(143), true, "was cancelled", NO, "apply again"),
    ("UserInitiated", "Task stopped by user", "", Some(0), true, "was cancelled", NO, "by user"),
    ("UserInitiated", "Task stopped by user", "", None, false, "was cancelled", NO, "by user"),
    ("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1234567890)", "", Some(137), true, "was cancelled", NO, "deployment"),
    // Docker's answer to a tag that is not there; ECS developer guide, CannotPullContainer.
    (NOT_STARTED, STARTING, "CannotPullContainerError: Error response from daemon: manifest for bwa:v9 not found: manifest unknown: manifest unknown", None, false, "never started", NO, "`image`"),
    (NOT_STARTED, STARTING, "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref docker.io/biocontainers/bwa:v9: docker.io/biocontainers/bwa:v9: not found", None, false, "never started", NO, "tag"),
    (NOT_STARTED, STARTING, "CannotPullContainerError: Error response from daemon: pull access denied for bwaa, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", None, false, "never started", NO, "name"),
    (NOT_STARTED, STARTING, "CannotPullContainerError: Error response from daemon: invalid reference format", None, false, "never started", NO, "`image`"),
    // amazon-ecs-agent#4181: the words that the agent adds.
    (NOT_STARTED, STARTING, "CannotPullContainerError: The task can\u{2019}t pull the image. Check that the role has the permissions to pull images from the registry. Error response from daemon: pull access denied for x", None, false, "never started", NO, "role"),
    // fixdevs.com, "AWS ECS Task Failed to Start".
    (NOT_STARTED, STARTING, "CannotPullContainerError: ref pull has been retried 1 time(s): failed to pull and unpack image \"1.dkr.ecr.us-east-1.amazonaws.com/x:1\": failed to resolve reference: unexpected status code 403 Forbidden", None, false, "never started", NO, "execution role"),
    // terraform-aws-retool-ecs-fargate#20: the network.
    (NOT_STARTED, STARTING, "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref docker.io/x/y:1: failed to do request: Head \"https://registry-1.docker.io/v2/x/y/manifests/1\": dial tcp 34.205.13.154:443: i/o timeout", None, false, "never started", TRIES, "passes"),
    // distribution-library-image#117.
    (NOT_STARTED, STARTING, "CannotPullContainerError: Error response from daemon: Get https://registry.hub.docker.com/v2/: net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)", None, false, "never started", TRIES, "passes"),
    // ECS developer guide, CannotPullContainer, "toomanyrequests"; Docker Hub's limit.
    (NOT_STARTED, STARTING, "CannotPullContainerError: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading", None, false, "never started", TRIES, "limits"),
    (NOT_STARTED, STARTING, "CannotPullContainerError: context canceled", None, false, "never started", TRIES, "passes"),
    // ECS developer guide, CannotPullContainer, "no space left on device".
    (NOT_STARTED, STARTING, "CannotPullContainerError: write /var/lib/docker/tmp/GetImageBlob111111111: no space left on device", None, false, "never started", NO, "`volume`"),
    (NOT_STARTED, STARTING, "CannotCreateContainerError: Error response from daemon: mkdir /var/lib/docker/overlay2/1-init: no space left on device", None, false, "never started", NO, "`volume`"),
    // aws-facts: another architecture, told by the registry, or by the kernel.
    (NOT_STARTED, STARTING, "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/arm64'", None, false, "never started", NO, "architecture"),
    // moby `image`: an image for Windows.
    (NOT_STARTED, STARTING, "CannotPullContainerError: image operating system \"windows\" cannot be used on this platform", None, false, "never started", NO, "operating system"),
    // awslabs/amazon-ecr-credential-helper#207, amazon-vpc-cni-k8s#1117: a registry that was asked without a sign-in.
    (NOT_STARTED, STARTING, "CannotPullContainerError: Error response from daemon: Head \"https://1.dkr.ecr.eu-west-2.amazonaws.com/v2/bwa/manifests/1\": no basic auth credentials", None, false, "never started", NO, "execution role"),
    (NOT_STARTED, STARTING, "CannotPullContainerError: no matching manifest for linux/arm64/v8 in the manifest list entries", None, false, "never started", NO, "`type`"),
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec /usr/bin/bwa: exec format error: unknown", None, false, "never started", NO, "architecture"),
    // Docker and runc on a command that is not there; stop code and exit code as older agents report them (amazon-ecs-agent#33).
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"bwaa\": executable file not found in $PATH: unknown", None, false, "never started", NO, "`command`"),
    (EXITED, ESSENTIAL, "CannotStartContainerError: API error (400): OCI runtime create failed: container_linux.go:348: starting container process caused \"exec: \\\"bwaa\\\": executable file not found in $PATH\": unknown", Some(127), false, "never started", NO, "`command`"),
    (EXITED, ESSENTIAL, "CannotStartContainerError: API error (500): OCI runtime create failed: container_linux.go:345: starting container process caused \"exec: \\\"/run.sh\\\": permission denied\": unknown", Some(128), false, "never started", NO, "entry point"),
    // runc#1712, moby#37225: a working folder that cannot be entered, and one that is no path.
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: OCI runtime create failed: container_linux.go:348: starting container process caused \"chdir to cwd (\\\"/home/jboss\\\") set in config.json failed: permission denied\": unknown", None, false, "never started", NO, "`working_dir`"),
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: OCI runtime create failed: unable to start container process: chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory: unknown", None, false, "never started", NO, "`working_dir`"),
    (NOT_STARTED, STARTING, "CannotCreateContainerError: Error response from daemon: the working directory 'data' is invalid, it needs to be an absolute path: must be an absolute path", None, false, "never started", NO, "`working_dir`"),
    // moby#22323: a user that the image does not have.
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: unable to find user deno: no matching entries in passwd file", None, false, "never started", NO, "`user`"),
    // amazon-ecs-agent#951, nomad#20116: folders of the instance.
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: error while creating mount source path '/opt/data': mkdir /opt/data: read-only file system", None, false, "never started", NO, "`mounts`"),
    (NOT_STARTED, STARTING, "CannotCreateContainerError: Error response from daemon: invalid mode: data", None, false, "never started", NO, "task definition"),
    // docker-curriculum#253, terraform-aws-hasura#25: the log group.
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.", None, false, "never started", NO, "log group"),
    (NOT_STARTED, "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: AccessDeniedException: User: arn:aws:sts::1:assumed-role/x is not authorized to perform: logs:CreateLogStream", "", None, false, "never started", NO, "log group"),
    // amazon-ecs-cli#752: the agent's credentials were not there yet.
    (NOT_STARTED, STARTING, "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: CredentialsEndpointError: failed to load credentials caused by: RequestError: send request failed", None, false, "never started", TRIES, "passes"),
    // terraform-aws-ecs-fargate#50, and ECS developer guide, ResourceInitializationError: secrets.
    (NOT_STARTED, "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 5 time(s): RequestCanceled: request context canceled", "", None, false, "never started", TRIES, "passes"),
    (NOT_STARTED, "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret from secrets manager: AccessDeniedException: User: x is not authorized to perform: secretsmanager:GetSecretValue", "", None, false, "never started", NO, "`secret`"),
    (NOT_STARTED, "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid parameters: /lab/key", "", None, false, "never started", NO, "`secret`"),
    (NOT_STARTED, "Fetching secret data from AWS Secrets Manager in region eu-west-2: secret lab/key: ResourceNotFoundException: Secrets Manager can't find the specified secret.", "", None, false, "never started", NO, "`secret`"),
    // pulumi-awsx#927: IAM has not told everybody yet.
    (NOT_STARTED, "ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions", "", None, false, "never started", TRIES, "does not trust"),
    // amazon-ecs-agent#682, #1440, #410: Docker under load.
    (NOT_STARTED, STARTING, "DockerTimeoutError: Could not transition to created; timed out after waiting 4m0s", None, false, "never started", TRIES, "passes"),
    (EXITED, ESSENTIAL, "DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s", None, false, "never started", TRIES, "passes"),
    (NOT_STARTED, STARTING, "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 1m0s", None, false, "never started", TRIES, "passes"),
    (NOT_STARTED, STARTING, "TaskStoppedBeforePullBeginError: Task stopped before image pull could begin for task: x", None, false, "never started", TRIES, "passes"),
    // amazon-ecs-agent#688: Docker is starting.
    (NOT_STARTED, STARTING, "CannotCreateContainerError: dial unix /var/run/docker.sock: connect: no such file or directory", None, false, "never started", TRIES, "passes"),
    (NOT_STARTED, STARTING, "CannotCreateContainerError: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", None, false, "never started", TRIES, "passes"),
    // amazon-ecs-agent#321: passes by itself ("retry the task").
    (NOT_STARTED, STARTING, "HostConfigError: Unable to resolve volume mounts; invalid path: x -tmp;  -> /tmp", None, false, "never started", TRIES, "passes"),
    // amazon-ecs-cli#194: "magically fixed itself".
    (NOT_STARTED, STARTING, "CannotCreateContainerError: API error (500): Untar error", None, false, "never started", TRIES, "passes"),
    // dagster PR#26183, prefect#5561: about one task in a hundred, with no reason at all.
    (NOT_STARTED, STARTING, "", None, false, "never started", TRIES, "passes"),
    ("", "", "", None, false, "never started", TRIES, "no reason"),
    // amazon-ecs-agent#336, #278: what ran, and whose end nobody saw.
    (EXITED, ESSENTIAL, "CannotInspectContainerError: Could not transition to inspecting; timed out after waiting 30s", None, true, "ended in a way that cannot be told", ATTEMPTS, "--retry"),
    (EXITED, ESSENTIAL, "DockerTimeoutError: Could not transition to stopped; timed out after waiting 2m0s", None, true, "ended in a way that cannot be told", ATTEMPTS, "runs again"),
    (EXITED, ESSENTIAL, "CannotDescribeContainerError: No such container", None, true, "ended in a way that cannot be told", ATTEMPTS, "without an exit code"),
    (EXITED, ESSENTIAL, "", None, true, "ended in a way that cannot be told", ATTEMPTS, "without an exit code"),
];

#[test]
fn every_known_stop_has_its_verdict_its_further_attempts_and_its_advice() {
    assert!(ROWS.len() >= 40);
    let mut wrong = Vec::new();
    for &(code, task, container, exit, started, expected, again, word) in ROWS {
        let end = end(code, task, container, exit, started);
        let judgement = verdict(&end);
        let follows = match sort(&judgement.verdict, end.ended_at.is_some()) {
            Some(Sort::Failed) => ATTEMPTS,
            Some(Sort::Passing) => TRIES,
            None => NO,
        };
        let told = format!("{} {}", judgement.explanation, judgement.next);
        if judgement.verdict.to_string() != expected || follows != again || !word.split('|').any(|w| told.contains(w)) {
            wrong.push(format!("{code} | {task} | {container} | {exit:?}: {}, {follows}: {told}", judgement.verdict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_exit_code_is_never_success() {
    for code in ["", EXITED, NOT_STARTED, "SomethingNew", "UserInitiated"] {
        for started in [false, true] {
            assert_ne!(verdict(&end(code, "", "", None, started)).verdict, Verdict::Succeeded);
        }
    }
}

#[test]
fn a_log_says_what_an_exit_code_does_not() {
    let says = |line: &str| log_hint(&[line.to_owned()]);
    assert!(says("standard_init_linux.go: exec format error").is_some_and(|hint| hint.contains("architecture")));
    assert!(says("write failed: No space left on device").is_some_and(|hint| hint.contains("volume")));
    assert!(
        says("An error occurred (AccessDenied) when calling PutObject").is_some_and(|hint| hint.contains("task_role"))
    );
    // Quoted from what S3 says to a role without rights to a key.
    let key =
        "(AccessDenied) when calling the GetObject operation: User: arn is not authorized to perform: kms:Decrypt on";
    assert!(says(key).is_some_and(|hint| hint.contains("kms_key")));
    assert_eq!(says("done"), None);
}
