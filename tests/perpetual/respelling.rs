//! What AWS may write otherwise than it was sent, on the way from the sandbox to the tool.
//!
//! Each of [`RESPELLINGS`] changes an answer's spelling and never its meaning, and names where that is said or was seen. The
//! sources are AWS's documentation and the issue trackers of other tools; AWS itself was not asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use fastrand::Rng;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::xml::Element;

/// An answer of AWS's.
pub enum Answer {
    Json(Value),
    Xml(Element),
    /// Of S3: headers.
    Headers(BTreeMap<String, String>),
}

/// One way to write an answer otherwise.
pub struct Respelling {
    pub name: &'static str,
    /// The operations whose answers are written so.
    pub of: &'static [&'static str],
    /// Where it is said, or was seen.
    pub source: &'static str,
    pub change: fn(&mut Answer, &mut Rng),
}

pub const RESPELLINGS: &[Respelling] = &[
    Respelling {
        name: "documents",
        of: &["GetRole", "GetPolicyVersion", "ListRoles"],
        source: "URL-encoded (IAM API, Role); lists for strings and back, another order (terraform-aws #22314, #21968, \
                 ACK #2142); an account as its root ARN (IAM guide, AWS JSON policy elements: Principal)",
        change: documents,
    },
    Respelling {
        name: "IAM tags",
        of: &["GetRole", "GetPolicy", "GetInstanceProfile"],
        source: "a list without order; AWS's own `aws:` tags (Tagging AWS resources guide)",
        change: |answer, rng| xml(answer, "Tags", |tags| tag(tags, "member", ["Key", "Value"], rng)),
    },
    Respelling {
        name: "attachments",
        of: &["ListAttachedRolePolicies"],
        source: "a list without order (IAM API, ListAttachedRolePolicies)",
        change: |answer, _| xml(answer, "AttachedPolicies", |list| list.children.reverse()),
    },
    Respelling {
        name: "role's last use",
        of: &["GetRole"],
        source: "IAM API, GetRole: RoleLastUsed",
        change: |answer, _| {
            let used =
                || vec![Element::new("LastUsedDate", "2026-01-02T00:00:00Z"), Element::new("Region", "eu-west-2")];
            xml(answer, "Role", |role| {
                role.children.retain(|child| child.name != "RoleLastUsed");
                role.children.push(Element::of("RoleLastUsed", used()));
            });
        },
    },
    Respelling {
        name: "EC2 tags",
        of: &["DescribeInstances", "DescribeSecurityGroups", "DescribeKeyPairs", "DescribeVolumes"],
        source: "a list without order; AWS's own `aws:` tags (Tagging AWS resources guide)",
        change: |answer, rng| xml(answer, "tagSet", |tags| tag(tags, "item", ["key", "value"], rng)),
    },
    Respelling {
        name: "rules regrouped",
        of: &["DescribeSecurityGroups"],
        source: "EC2 API, IpPermission: one entry may hold several ranges and groups, in no order",
        change: regrouped,
    },
    Respelling {
        name: "protocols by number",
        of: &["DescribeSecurityGroups"],
        source: "EC2 API, IpPermission: IpProtocol is a name or a number",
        change: |answer, _| {
            xml(answer, "ipProtocol", |protocol| {
                let numbers = [("tcp", "6"), ("udp", "17"), ("icmp", "1"), ("icmpv6", "58")];
                if let Some((_, number)) = numbers.iter().find(|(name, _)| *name == protocol.text) {
                    protocol.text = (*number).to_owned();
                }
            });
        },
    },
    Respelling {
        name: "ports of all",
        of: &["DescribeSecurityGroups"],
        source: "EC2 API, IpPermission: with -1, ports are left out or -1",
        change: |answer, _| {
            permissions(answer, |items| {
                for item in items.iter_mut().filter(|item| item.child("ipProtocol").is_some_and(|one| one.text == "-1"))
                {
                    item.children.retain(|child| child.name != "fromPort" && child.name != "toPort");
                    item.children.extend([Element::new("fromPort", "-1"), Element::new("toPort", "-1")]);
                }
            });
        },
    },
    Respelling {
        name: "IPv6 spelling",
        of: &["DescribeSecurityGroups"],
        source: "RFC 4291, 2.2: one address, several spellings",
        change: |answer, _| {
            xml(answer, "cidrIpv6", |cidr| {
                let net: ipnet::Ipv6Net = cidr.text.parse().unwrap();
                let groups: Vec<String> = net.network().segments().iter().map(|group| format!("{group:X}")).collect();
                cidr.text = format!("{}/{}", groups.join(":"), net.prefix_len());
            });
        },
    },
    Respelling {
        name: "groups described",
        of: &["DescribeSecurityGroups"],
        source: "EC2 API, UserIdGroupPair: with owner, name and VPC",
        change: |answer, _| {
            xml(answer, "groups", |groups| {
                for pair in &mut groups.children {
                    pair.children.retain(|child| child.name == "groupId" || child.name == "description");
                    pair.children.insert(0, Element::new("userId", "123456789012"));
                    pair.children.extend([Element::new("groupName", "another"), Element::new("vpcId", "vpc-1")]);
                }
            });
        },
    },
    Respelling {
        name: "default egress of IPv6",
        of: &["DescribeSecurityGroups"],
        source: "EC2 guide, Default security groups: in a VPC with IPv6, all outbound IPv6 traffic too",
        change: |answer, _| {
            xml(answer, "ipPermissionsEgress", |egress| {
                let everywhere = |item: &Element| item.child("ipProtocol").is_some_and(|one| one.text == "-1");
                if let [item] = egress.children.as_mut_slice()
                    && everywhere(item)
                {
                    item.children.retain(|child| child.name != "ipv6Ranges");
                    let range = Element::of("item", vec![Element::new("cidrIpv6", "::/0")]);
                    item.children.push(Element::of("ipv6Ranges", vec![range]));
                }
            });
        },
    },
    Respelling {
        name: "instance's groups",
        of: &["DescribeInstances"],
        source: "a list without order (EC2 API, Instance: groupSet)",
        change: |answer, _| xml(answer, "groupSet", |groups| groups.children.reverse()),
    },
    Respelling {
        name: "further devices",
        of: &["DescribeInstances"],
        source: "EC2 API, Instance: blockDeviceMapping lists every volume, not only the root",
        change: |answer, _| {
            xml(answer, "blockDeviceMapping", |devices| {
                let ebs = Element::of("ebs", vec![Element::new("volumeId", "vol-0ffffffffffffffff")]);
                devices.children.insert(0, Element::of("item", vec![Element::new("deviceName", "/dev/sdz"), ebs]));
            });
        },
    },
    Respelling {
        name: "volumes' performance",
        of: &["DescribeVolumes"],
        source: "EC2 API, Volume: Iops is told of gp2 too, as its baseline",
        change: |answer, _| {
            xml(answer, "volumeSet", |volumes| {
                for volume in
                    volumes.children.iter_mut().filter(|one| one.child("volumeType").is_some_and(|t| t.text == "gp2"))
                {
                    volume.children.retain(|child| child.name != "iops" && child.name != "throughput");
                    volume.children.extend([Element::new("iops", "101"), Element::new("throughput", "128")]);
                }
            });
        },
    },
    Respelling {
        name: "public keys",
        of: &["DescribeKeyPairs"],
        source: "EC2 API, KeyPairInfo: PublicKey comes with a comment and a line's end; the fingerprint of an ED25519 key with \
                 or without its `=`",
        change: |answer, _| {
            xml(answer, "publicKey", |key| key.text = format!("{} imported\n", key.text.trim_end()));
            xml(answer, "keyFingerprint", |print| print.text = print.text.trim_end_matches('=').to_owned());
        },
    },
    Respelling {
        name: "definition's order",
        of: &["DescribeTaskDefinition"],
        source: "lists come in another order (terraform-aws #10387, #39533)",
        change: |answer, rng| {
            definition(answer, |definition| {
                let lists = ["environment", "secrets", "mountPoints", "ulimits", "resourceRequirements"];
                let own = ["volumes", "compatibilities"];
                let container = &mut definition["containerDefinitions"][0];
                lists.iter().for_each(|list| shuffle(&mut container[*list], rng));
                if container["linuxParameters"]["tmpfs"].is_array() {
                    shuffle(&mut container["linuxParameters"]["tmpfs"], rng);
                }
                own.iter().for_each(|list| shuffle(&mut definition[*list], rng));
            });
        },
    },
    Respelling {
        name: "definition's defaults filled in",
        of: &["DescribeTaskDefinition"],
        source: "ECS API, ContainerDefinition: cpu 0, empty lists, essential (terraform-aws #14052, pulumi-aws #4576)",
        change: |answer, _| {
            definition(answer, |definition| {
                for list in ["placementConstraints", "volumes", "requiresAttributes"] {
                    filled(definition, list, json!([]));
                }
                filled(definition, "networkMode", json!("bridge"));
                filled(definition, "enableFaultInjection", json!(false));
                let container = &mut definition["containerDefinitions"][0];
                let lists = [
                    "environment",
                    "secrets",
                    "mountPoints",
                    "portMappings",
                    "volumesFrom",
                    "systemControls",
                    "links",
                    "dnsServers",
                    "dnsSearchDomains",
                    "extraHosts",
                    "dockerSecurityOptions",
                    "ulimits",
                    "command",
                    "entryPoint",
                    "environmentFiles",
                    "resourceRequirements",
                    "dependsOn",
                    "credentialSpecs",
                ];
                lists.iter().for_each(|list| filled(container, list, json!([])));
                filled(container, "cpu", json!(0));
                filled(container, "essential", json!(true));
                for flag in
                    ["privileged", "readonlyRootFilesystem", "interactive", "pseudoTerminal", "disableNetworking"]
                {
                    filled(container, flag, json!(false));
                }
                filled(container, "dockerLabels", json!({}));
                filled(container, "linuxParameters", json!({}));
                let linux = &mut container["linuxParameters"];
                filled(linux, "initProcessEnabled", json!(false));
                filled(linux, "capabilities", json!({"add": [], "drop": []}));
                ["devices", "tmpfs"].iter().for_each(|list| filled(linux, list, json!([])));
            });
        },
    },
    Respelling {
        name: "definition's defaults left out",
        of: &["DescribeTaskDefinition"],
        source: "ECS API, ContainerDefinition and MountPoint: each default may be absent",
        change: |answer, _| {
            definition(answer, |definition| {
                let plain = |value: &Value| {
                    matches!(value, Value::Bool(false)) || *value == json!(0) || *value == json!([]) || value.is_null()
                };
                if definition["networkMode"] == "bridge" {
                    definition["networkMode"] = Value::Null;
                }
                let container = definition["containerDefinitions"][0].as_object_mut().unwrap();
                container.retain(|name, value| !plain(value) && name != "essential");
                for mount in container.get_mut("mountPoints").and_then(Value::as_array_mut).into_iter().flatten() {
                    mount.as_object_mut().unwrap().retain(|_, value| !plain(value));
                }
                definition.as_object_mut().unwrap().retain(|_, value| !plain(value));
            });
        },
    },
    Respelling {
        name: "ECS tags",
        of: &["DescribeTaskDefinition", "DescribeClusters"],
        source: "a list without order; AWS's own `aws:` tags (Tagging AWS resources guide)",
        change: |answer, rng| {
            let Answer::Json(answer) = answer else { return };
            let aws = || json!({"key": "aws:cloudformation:stack-name", "value": "x"});
            let mut add = |holder: &mut Value| {
                if let Some(tags) = holder.get_mut("tags").and_then(Value::as_array_mut) {
                    tags.push(aws());
                    rng.shuffle(tags);
                }
            };
            add(answer);
            answer.get_mut("clusters").and_then(Value::as_array_mut).into_iter().flatten().for_each(add);
        },
    },
    Respelling {
        name: "clusters described",
        of: &["DescribeClusters"],
        source: "ECS API, Cluster: settings, statistics and capacity providers beside what was asked for",
        change: |answer, rng| {
            let Answer::Json(answer) = answer else { return };
            shuffle(&mut answer["clusters"], rng);
            for cluster in answer["clusters"].as_array_mut().into_iter().flatten() {
                cluster["settings"] = json!([{"name": "containerInsights", "value": "disabled"}]);
                cluster["capacityProviders"] = json!([]);
                cluster["statistics"] = json!([{"name": "runningEC2TasksCount", "value": "0"}]);
            }
        },
    },
    Respelling {
        name: "log groups described",
        of: &["DescribeLogGroups"],
        source: "Logs API, LogGroup: no retention is no member; bytes, class and metric filters beside",
        change: |answer, rng| {
            let Answer::Json(answer) = answer else { return };
            shuffle(&mut answer["logGroups"], rng);
            for group in answer["logGroups"].as_array_mut().into_iter().flatten() {
                group["storedBytes"] = json!(rng.u32(1..));
                group["metricFilterCount"] = json!(1);
                group["logGroupClass"] = json!("STANDARD");
            }
        },
    },
    Respelling {
        name: "log groups' tags",
        of: &["ListTagsForResource"],
        source: "AWS's own `aws:` tags (Tagging AWS resources guide)",
        change: |answer, _| {
            let Answer::Json(answer) = answer else { return };
            if let Some(tags) = answer.get_mut("tags").and_then(Value::as_object_mut) {
                tags.insert("aws:cloudformation:stack-name".to_owned(), json!("x"));
            }
        },
    },
    Respelling {
        name: "objects' ETags and checksums",
        of: &["HeadObject"],
        source: "S3 API, Object: an ETag is an MD5 only without KMS and of one part; a checksum may be of another sort",
        change: |answer, rng| {
            let Answer::Headers(headers) = answer else { return };
            headers.insert("etag".to_owned(), format!("\"{:032x}-3\"", rng.u128(..)));
            headers.remove("x-amz-checksum-sha256");
            headers.insert("x-amz-checksum-crc64nvme".to_owned(), "8OpYt1rxNTU=".to_owned());
            headers.insert("x-amz-server-side-encryption".to_owned(), "aws:kms".to_owned());
        },
    },
];

fn xml(answer: &mut Answer, name: &str, mut change: impl FnMut(&mut Element)) {
    if let Answer::Xml(root) = answer {
        root.each(name, &mut change);
    }
}

fn tag(tags: &mut Element, item: &str, [key, value]: [&str; 2], rng: &mut Rng) {
    let aws = vec![Element::new(key, "aws:cloudformation:stack-name"), Element::new(value, "x")];
    tags.children.push(Element::of(item, aws));
    rng.shuffle(&mut tags.children);
}

/// The rules of each group, in and out, entry by entry.
fn permissions(answer: &mut Answer, mut change: impl FnMut(&mut Vec<Element>)) {
    for side in ["ipPermissions", "ipPermissionsEgress"] {
        xml(answer, side, |side| change(&mut side.children));
    }
}

/// An entry for each range and group, in any order.
fn regrouped(answer: &mut Answer, rng: &mut Rng) {
    const PEERS: [&str; 4] = ["ipRanges", "ipv6Ranges", "groups", "prefixListIds"];
    permissions(answer, |items| {
        let mut apart = Vec::new();
        for item in items.drain(..) {
            let (peers, rest): (Vec<_>, Vec<_>) =
                item.children.into_iter().partition(|child| PEERS.contains(&child.name.as_str()));
            for peer in peers {
                for one in peer.children {
                    let mut children = rest.clone();
                    children.push(Element::of(&peer.name, vec![one]));
                    apart.push(Element::of("item", children));
                }
            }
        }
        rng.shuffle(&mut apart);
        *items = apart;
    });
}

fn definition(answer: &mut Answer, change: impl FnOnce(&mut Value)) {
    if let Answer::Json(answer) = answer
        && let Some(definition) = answer.get_mut("taskDefinition")
    {
        change(definition);
    }
}

fn filled(holder: &mut Value, name: &str, default: Value) {
    if holder[name].is_null() {
        holder[name] = default;
    }
}

fn shuffle(list: &mut Value, rng: &mut Rng) {
    if let Some(items) = list.as_array_mut() {
        rng.shuffle(items);
    }
}

/// What RFC 3986 does not reserve stays as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const FEW: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b'{').add(b'}').add(b'[').add(b']');

fn documents(answer: &mut Answer, rng: &mut Rng) {
    for name in ["AssumeRolePolicyDocument", "Document"] {
        xml(answer, name, |element| {
            let text = percent_decode_str(&element.text).decode_utf8().unwrap();
            let document = respelt(&serde_json::from_str(&text).unwrap(), "", rng);
            let text = if rng.bool() { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
            let set = if rng.bool() { RESERVED } else { FEW };
            element.text = utf8_percent_encode(&text, set).to_string();
        });
    }
}

/// A document of the same meaning.
fn respelt(value: &Value, key: &str, rng: &mut Rng) -> Value {
    match value {
        Value::Array(items) if items.len() == 1 && rng.bool() => respelt(&items[0], key, rng),
        Value::Array(items) => {
            // A string in a list is no list again.
            let key = if key == "AWS" { "in AWS" } else { "" };
            let mut items: Vec<Value> = items.iter().map(|item| respelt(item, key, rng)).collect();
            rng.shuffle(&mut items);
            items.into()
        }
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), respelt(value, key, rng)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::String(text) if key.ends_with("AWS") && text.len() == 12 && rng.bool() => {
            format!("arn:aws:iam::{text}:root").into()
        }
        Value::String(_) if ["Action", "Resource", "Service", "AWS"].contains(&key) && rng.bool() => json!([value]),
        Value::Number(_) | Value::Bool(_) => value.to_string().into(),
        other => other.clone(),
    }
}

/// Which respellings are on, and what they did.
#[derive(Debug)]
pub struct Way {
    pub on: Vec<usize>,
    pub rng: Rng,
    /// Answers that each of them changed.
    pub changed: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Respelt {
    inner: SharedHttpConnector,
    way: Arc<Mutex<Way>>,
}

/// The client with a way on which answers are written otherwise.
pub fn over(inner: SharedHttpClient, way: Arc<Mutex<Way>>) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        let inner = inner.http_connector(settings, components);
        SharedHttpConnector::new(Respelt { inner, way: way.clone() })
    })
}

impl HttpConnector for Respelt {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let name = operation(&request);
        let (answer, way) = (self.inner.call(request), self.way.clone());
        HttpConnectorFuture::new(async move { Ok(respell(answer.await?, &name, &mut way.lock().unwrap())) })
    }
}

/// What is asked: in a header, in the body, or by method and path.
fn operation(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.rsplit('.').next().unwrap().to_owned();
    }
    let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
    match body.split('&').find_map(|pair| pair.strip_prefix("Action=")) {
        Some(action) => action.to_owned(),
        None if request.method() == "HEAD" => "HeadObject".to_owned(),
        None => String::new(),
    }
}

fn respell(mut response: HttpResponse, operation: &str, way: &mut Way) -> HttpResponse {
    let on: Vec<usize> = way.on.iter().copied().filter(|n| RESPELLINGS[*n].of.contains(&operation)).collect();
    if on.is_empty() || !response.status().is_success() {
        return response;
    }
    let body = String::from_utf8(response.body().bytes().unwrap_or_default().to_vec()).unwrap();
    let mut answer = if operation == "HeadObject" {
        Answer::Headers(response.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    } else if body.trim_start().starts_with('<') {
        Answer::Xml(Element::read(&body))
    } else {
        Answer::Json(serde_json::from_str(&body).unwrap())
    };
    for n in on {
        let before = written(&answer);
        (RESPELLINGS[n].change)(&mut answer, &mut way.rng);
        *way.changed.entry(n).or_default() += usize::from(written(&answer) != before);
    }
    match &answer {
        Answer::Headers(headers) => {
            for gone in ["x-amz-checksum-sha256", "content-length"] {
                response.headers_mut().remove(gone);
            }
            for (name, value) in headers {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
        _ => {
            response.headers_mut().remove("content-length");
            *response.body_mut() = SdkBody::from(written(&answer));
        }
    }
    response
}

fn written(answer: &Answer) -> String {
    match answer {
        Answer::Json(value) => value.to_string(),
        Answer::Xml(root) => root.write(),
        Answer::Headers(headers) => format!("{headers:?}"),
    }
}
