//! What is made of AWS's answers, each as its service spells it.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::aws::{Aws, Class};

/// Answers by the address and the body of a request: a status and a text.
type Answers = Arc<dyn Fn(&str, &str) -> (u16, String) + Send + Sync>;

struct Canned(Answers);

impl std::fmt::Debug for Canned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canned")
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let (status, text) = (self.0)(request.uri(), &body);
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(text));
        response.headers_mut().insert("date", "Mon, 05 Jan 2026 09:00:00 GMT");
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn answering(answers: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Aws {
    let connector = SharedHttpConnector::new(Canned(Arc::new(answers)));
    // AWS's documented example key.
    let key = Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-2"))
        .credentials_provider(SharedCredentialsProvider::new(key))
        .sleep_impl(TokioSleep::new())
        .http_client(http_client_fn(move |_, _| connector.clone()));
    Aws::new(&config.build())
}

fn live(aws: &Aws) -> Live<'_> {
    Live { aws, bucket: "out", key: "ledger.json" }
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_may_not_be_read_is_not_one_that_is_not_there() {
    let refusing = |status: u16, code: &'static str| {
        answering(move |_, _| (status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>")))
    };
    assert!(live(&refusing(404, "NoSuchKey")).read_ledger().await.unwrap().object.is_none());
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchBucket"), (503, "SlowDown")] {
        assert!(live(&refusing(status, code)).read_ledger().await.is_err(), "{code}");
    }
    let denied = live(&refusing(403, "AccessDenied")).read_ledger().await.unwrap_err();
    assert_eq!(denied.class, Class::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_read_to_its_end_but_for_that_of_a_single_key() {
    let aws = answering(|uri, _| {
        let (key, more) = match uri.contains("continuation-token=next") {
            true => ("b", "<IsTruncated>false</IsTruncated>"),
            false => ("a", "<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>"),
        };
        let object = format!("<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>");
        (200, format!("<ListBucketResult>{more}{object}</ListBucketResult>"))
    });
    for (exact, keys) in [(false, vec!["a", "b"]), (true, vec!["a"])] {
        let listing = Listing { bucket: "in".to_owned(), prefix: String::new(), exact };
        let found = live(&aws).list(&listing).await.unwrap();
        assert_eq!(found.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), keys, "{exact}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_just_stopped_is_found_too() {
    for (listed, found) in [("RUNNING", true), ("STOPPED", true), ("none", false)] {
        let aws = answering(move |_, body| {
            let arns = if body.contains(listed) { r#"["arn:aws:ecs:eu-west-2:1:task/c/x"]"# } else { "[]" };
            (200, format!(r#"{{"taskArns":{arns}}}"#))
        });
        assert_eq!(live(&aws).find_task("c", "digest").await.unwrap().is_some(), found, "{listed}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_agent_that_is_active_and_connected_takes_tasks() {
    for (status, connected) in [("ACTIVE", true), ("ACTIVE", false), ("DRAINING", true), ("DEREGISTERING", false)] {
        let aws = answering(move |_, body| {
            let text = match body.contains("containerInstances") {
                true => format!(
                    r#"{{"containerInstances":[{{"containerInstanceArn":"arn","status":"{status}","agentConnected":{connected}}}]}}"#
                ),
                false => r#"{"containerInstanceArns":["arn"]}"#.to_owned(),
            };
            (200, text)
        });
        let agent = live(&aws).agent("c", "i-1").await.unwrap();
        let ready = matches!(agent, Agent::Ready { .. });
        assert_eq!(ready, status == "ACTIVE" && connected, "{agent:?}");
        assert!(ready || matches!(&agent, Agent::Away { status: why, .. } if why.starts_with(status)), "{agent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_on_its_way_out_is_gone() {
    for (state, gone) in [
        ("pending", false),
        ("running", false),
        ("shutting-down", true),
        ("terminated", true),
        ("stopping", true),
        ("stopped", true),
    ] {
        let aws = answering(move |_, _| {
            let instance = format!(
                "<instancesSet><item><instanceId>i-1</instanceId><instanceState><name>{state}</name></instanceState></item></instancesSet>"
            );
            let text = format!("<reservationSet><item>{instance}</item></reservationSet>");
            (200, format!("<DescribeInstancesResponse>{text}</DescribeInstancesResponse>"))
        });
        assert_eq!(live(&aws).instance_gone("i-1").await.unwrap(), gone, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_without_an_exit_code_has_none() {
    for (told, code) in [(r#","exitCode":0"#, Some(0)), (r#","exitCode":137"#, Some(137)), ("", None)] {
        let aws = answering(move |_, _| {
            let task = format!(r#"{{"taskArn":"arn","lastStatus":"STOPPED","containers":[{{"name":"x"{told}}}]}}"#);
            (200, format!(r#"{{"tasks":[{task}],"failures":[]}}"#))
        });
        let tasks = live(&aws).tasks("c", &["arn".to_owned()]).await.unwrap();
        let [TaskNow::Stopped(end)] = tasks.as_slice() else { panic!("{tasks:?}") };
        assert_eq!(end.exit_code, code, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_one_whatever_its_status() {
    for status in [400, 403] {
        let aws = answering(move |_, _| (status, r#"{"__type":"AccessDeniedException","message":"no"}"#.to_owned()));
        assert_eq!(live(&aws).find_task("c", "digest").await.unwrap_err().class, Class::Denied, "{status}");
    }
}

#[test]
fn a_large_ledger_has_longer_to_arrive_and_never_as_long_as_the_lease() {
    let seconds = |bytes| super::live::written_within(bytes).as_secs();
    assert_eq!((seconds(0), seconds(64 << 10), seconds(4 << 20), seconds(1 << 30)), (20, 21, 84, 100));
}
