use serde_json::{Value, json};

use crate::bench::Bench;
use crate::engine::fake::Outcome;

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[test]
fn tokens_walk_both_ways_and_repeat_at_the_ends() {
    let mut bench = Bench::new(|_| Outcome::default());
    bench.logs("CreateLogGroup", json!({"logGroupName": "g"}));
    bench.logs("CreateLogStream", json!({"logGroupName": "g", "logStreamName": "s"}));
    let now = bench.cx.now.as_millisecond();
    let put = |from: i64| -> Value {
        let events: Vec<Value> =
            (from..from + 3).map(|n| json!({"timestamp": now + n, "message": format!("m{n}")})).collect();
        json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events})
    };
    bench.logs("PutLogEvents", put(0));
    let get = |token: Option<&Value>, head: bool, limit: u64| {
        let mut input = json!({"logGroupName": "g", "logStreamName": "s", "limit": limit, "startFromHead": head});
        if let Some(token) = token {
            input["nextToken"] = token.clone();
        }
        input
    };
    let first = bench.logs("GetLogEvents", get(None, true, 2));
    assert_eq!(messages(&first), ["m0", "m1"]);
    let second = bench.logs("GetLogEvents", get(Some(&first["nextForwardToken"]), true, 2));
    assert_eq!(messages(&second), ["m2"]);
    let end = bench.logs("GetLogEvents", get(Some(&second["nextForwardToken"]), true, 2));
    assert_eq!((messages(&end).len(), &end["nextForwardToken"]), (0, &second["nextForwardToken"]));
    bench.logs("PutLogEvents", put(3));
    let more = bench.logs("GetLogEvents", get(Some(&end["nextForwardToken"]), true, 10));
    assert_eq!(messages(&more), ["m3", "m4", "m5"]);
    let tail = bench.logs("GetLogEvents", get(None, false, 2));
    assert_eq!(messages(&tail), ["m4", "m5"]);
    let back = bench.logs("GetLogEvents", get(Some(&tail["nextBackwardToken"]), false, 10));
    assert_eq!(messages(&back), ["m0", "m1", "m2", "m3"]);
    let start = bench.logs("GetLogEvents", get(Some(&back["nextBackwardToken"]), false, 10));
    assert_eq!((messages(&start).len(), &start["nextBackwardToken"]), (0, &back["nextBackwardToken"]));
    let found = bench.logs("FilterLogEvents", json!({"logGroupName": "g", "filterPattern": "?m1 ?m4"}));
    assert_eq!(messages(&found), ["m1", "m4"]);
}

#[test]
fn groups_retention_and_tags() {
    let mut bench = Bench::new(|_| Outcome::default());
    bench.logs("CreateLogGroup", json!({"logGroupName": "/seqstack/s/p", "tags": {"a": "b"}}));
    let again = bench.try_logs("CreateLogGroup", json!({"logGroupName": "/seqstack/s/p"}));
    assert_eq!(again.unwrap_err().code, "ResourceAlreadyExistsException");
    bench.logs("PutRetentionPolicy", json!({"logGroupName": "/seqstack/s/p", "retentionInDays": 90}));
    let odd = bench.try_logs("PutRetentionPolicy", json!({"logGroupName": "/seqstack/s/p", "retentionInDays": 91}));
    assert_eq!(odd.unwrap_err().code, "InvalidParameterException");
    let listed = bench.logs("DescribeLogGroups", json!({"logGroupNamePrefix": "/seqstack/s/"}));
    assert_eq!(listed["logGroups"][0]["retentionInDays"], 90);
    let arn = listed["logGroups"][0]["arn"].as_str().unwrap().to_owned();
    assert!(arn.ends_with(":*"));
    let starred = bench.try_logs("TagResource", json!({"resourceArn": arn, "tags": {"c": "d"}}));
    assert_eq!(starred.unwrap_err().code, "ValidationException");
    let arn = arn.trim_end_matches(":*");
    bench.logs("TagResource", json!({"resourceArn": arn, "tags": {"c": "d"}}));
    bench.logs("UntagResource", json!({"resourceArn": arn, "tagKeys": ["a"]}));
    assert_eq!(bench.logs("ListTagsForResource", json!({"resourceArn": arn}))["tags"], json!({"c": "d"}));
    bench.logs("DeleteLogGroup", json!({"logGroupName": "/seqstack/s/p"}));
    let gone = bench.try_logs("DescribeLogStreams", json!({"logGroupName": "/seqstack/s/p"}));
    assert_eq!(gone.unwrap_err().code, "ResourceNotFoundException");
    let refused = bench.try_logs("StartQuery", json!({})).unwrap_err();
    assert_eq!(refused.message, "the sandbox does not serve logs:StartQuery");
}

#[test]
fn refusals_are_listed() {
    let mut bench = Bench::new(|_| Outcome::default());
    let wrong = json!({
        "logGroupName": "none", "logStreamName": "none", "retentionInDays": 7, "resourceArn": "arn:aws:logs:none",
        "tags": {"a": "b"}, "logGroupNamePrefix": "a", "logGroupNamePattern": "b",
    });
    for (operation, _) in super::OPERATIONS {
        assert!(bench.try_logs(operation, json!({"logGroupName": " ", "limit": 0})).is_err(), "{operation}");
        let makes_it = *operation == "CreateLogGroup";
        assert!(makes_it || bench.try_logs(operation, wrong.clone()).is_err(), "{operation}");
    }
    for (operation, _) in crate::operations("ssm") {
        assert!(
            bench.try_ssm(operation, json!({"Names": ["a b"], "Name": "a b", "Path": "a"})).is_err(),
            "{operation}"
        );
    }
}

#[test]
fn terms_of_other_characters_are_quoted() {
    let mut bench = Bench::new(|_| Outcome::default());
    bench.logs("CreateLogGroup", json!({"logGroupName": "g"}));
    bench.logs("CreateLogStream", json!({"logGroupName": "g", "logStreamName": "s"}));
    let now = bench.cx.now.as_millisecond();
    let events = json!([
        {"timestamp": now, "message": "it is 5% done"}, {"timestamp": now, "message": "it's done: exit-code=1"},
    ]);
    bench.logs("PutLogEvents", json!({"logGroupName": "g", "logStreamName": "s", "logEvents": events}));
    let ask = |pattern: &str| json!({"logGroupName": "g", "filterPattern": pattern});
    let found = |bench: &mut Bench, pattern: &str| messages(&bench.logs("FilterLogEvents", ask(pattern))).len();
    let counts = ["done", "\"exit-code=1\"", "done -\"5%\"", "\" \"", "-done", "?\"it's\" ?nothing"];
    assert_eq!(counts.map(|pattern| found(&mut bench, pattern)), [2, 1, 1, 2, 0, 1]);
    for wrong in ["exit-code", "\"open", "it's", "-", "{ $.a = 1 }"] {
        let refused = bench.try_logs("FilterLogEvents", ask(wrong)).unwrap_err();
        assert_eq!(refused.code, "InvalidParameterException", "{wrong}");
    }
    let events = bench.logs("FilterLogEvents", ask(""))["events"].clone();
    assert_ne!(events[0]["eventId"], events[1]["eventId"]);
    assert_eq!(bench.logs("FilterLogEvents", ask("exit_code"))["events"], json!([]));
    assert_eq!(bench.logs("FilterLogEvents", ask("\"code=1\""))["events"][0]["eventId"], events[1]["eventId"]);
}
