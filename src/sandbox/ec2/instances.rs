//! Instances: their life in time, how they are found, and what ends, stops and starts them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::show::shown;
use super::{Filter, Tags, filtered, invalid, network, page_size, paged, well_formed};
use crate::account::Account;
use crate::ec2::State;
use crate::ecs;
use crate::input::{flag, list, number, text, texts};
use crate::service::{Answer, ApiError, Cx};
use crate::user_data::UserData;

/// The tag that holds the time at which the instance ends itself, RFC 3339.
pub const DEADLINE: &str = "seqstack:deadline";

const REMEMBERED: i64 = 3600;
const TOKEN_KEPT: i64 = 24 * 3600;

/// An instance's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// It boots.
    Pending,
    /// It runs.
    Running,
    /// It shuts down for good.
    ShuttingDown,
    /// It is gone; shown for an hour.
    Terminated,
    /// It shuts down, to be started again.
    Stopping,
    /// It waits to be started again.
    Stopped,
}

impl Life {
    /// EC2's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    pub(super) fn shown(self) -> Value {
        let code = match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        };
        json!({"code": code, "name": self.name()})
    }
}

/// The options of an instance's metadata service; the defaults are those of Amazon Linux 2023.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    http_tokens: String,
    http_put_response_hop_limit: i64,
    http_endpoint: String,
    http_protocol_ipv6: String,
    pub(super) instance_metadata_tags: String,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            http_tokens: "required".to_owned(),
            http_put_response_hop_limit: 2,
            http_endpoint: "enabled".to_owned(),
            http_protocol_ipv6: "disabled".to_owned(),
            instance_metadata_tags: "disabled".to_owned(),
        }
    }
}

impl Metadata {
    /// The same with what a request sets.
    pub(super) fn with(mut self, input: &Value) -> Result<Self, ApiError> {
        let word = |name: &str, have: &mut String, allowed: [&str; 2]| match text(input, name) {
            None => Ok(()),
            Some(value) if allowed.contains(&value) => {
                value.clone_into(have);
                Ok(())
            }
            Some(value) => Err(invalid(format!("Value ({value}) for parameter {name} is invalid."))),
        };
        word("HttpTokens", &mut self.http_tokens, ["optional", "required"])?;
        word("HttpEndpoint", &mut self.http_endpoint, ["enabled", "disabled"])?;
        word("HttpProtocolIpv6", &mut self.http_protocol_ipv6, ["enabled", "disabled"])?;
        word("InstanceMetadataTags", &mut self.instance_metadata_tags, ["enabled", "disabled"])?;
        if let Some(limit) = number(input, "HttpPutResponseHopLimit") {
            if !(1..=64).contains(&limit) {
                return Err(invalid(format!("Value ({limit}) for parameter HttpPutResponseHopLimit is invalid.")));
            }
            self.http_put_response_hop_limit = limit;
        }
        Ok(self)
    }

    /// The options as they are shown, `pending` or `applied`.
    pub(super) fn shown(&self, state: &str) -> Value {
        json!({
            "state": state, "httpTokens": self.http_tokens, "httpEndpoint": self.http_endpoint,
            "httpPutResponseHopLimit": self.http_put_response_hop_limit, "httpProtocolIpv6": self.http_protocol_ipv6,
            "instanceMetadataTags": self.instance_metadata_tags,
        })
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    pub(super) reservation: String,
    pub(super) index: i64,
    pub(super) client_token: String,
    /// Its AMI.
    pub image: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// E.g. `r6i.2xlarge`.
    pub instance_type: String,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Nominal memory, MiB.
    pub memory_mib: u64,
    pub(crate) subnet: String,
    /// The subnet's VPC.
    pub(crate) vpc: String,
    /// Its availability zone.
    pub zone: String,
    pub(super) groups: Vec<String>,
    pub(super) key_name: Option<String>,
    /// ARN and id of its instance profile.
    pub profile: Option<(String, String)>,
    pub(super) metadata: Metadata,
    /// As it was sent, in base64.
    pub user_data: Option<String>,
    pub(super) shutdown: String,
    pub(super) protected: bool,
    pub(super) private_ip: String,
    pub(super) public_ip: Option<String>,
    /// Whether it has ever read a deadline in its metadata.
    #[serde(default)]
    pub(super) deadline_seen: bool,
    pub(super) mac: String,
    pub(super) interface: String,
    /// The tags of its network interface.
    #[serde(default)]
    pub(super) interface_tags: Tags,
    #[serde(default)]
    pub(super) ebs_optimized: bool,
    pub(super) tags: Tags,
    pub(super) launched: Timestamp,
    /// Its state.
    pub life: Life,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Since when it runs, once it does.
    pub running_since: Option<Timestamp>,
    /// Since when it shuts down or is down.
    pub down_since: Option<Timestamp>,
    pub(super) reason: Option<(String, String)>,
}

impl Instance {
    /// Whether it is terminated.
    pub fn gone(&self) -> bool {
        self.life == Life::Terminated
    }

    /// Whether it has a public address.
    pub(super) fn is_public(&self) -> bool {
        self.public_ip.is_some()
    }

    /// Whether it can be seen yet.
    pub(super) fn visible(&self, cx: &Cx) -> bool {
        self.launched.checked_add(cx.options.settings.visibility).is_ok_and(|seen| seen <= cx.now)
    }

    /// What it has of the network: nothing, once it is terminated.
    fn placed<S: ToString>(&self, values: impl IntoIterator<Item = S>) -> Vec<String> {
        if self.gone() { Vec::new() } else { values.into_iter().map(|value| value.to_string()).collect() }
    }

    fn to(&mut self, life: Life, at: Timestamp) {
        self.life = life;
        self.since = at;
        self.running_since = match life {
            Life::Running => Some(at),
            Life::Pending => None,
            _ => self.running_since,
        };
        self.down_since = match life {
            Life::Pending | Life::Running => None,
            _ => self.down_since.or(Some(at)),
        };
    }

    /// The deadline that it reads in its metadata.
    fn tagged_deadline(&self) -> Option<Timestamp> {
        let shown = self.metadata.instance_metadata_tags == "enabled";
        self.tags.get(DEADLINE).filter(|_| shown)?.parse().ok()
    }

    /// When it ends itself: at the deadline that it reads, and where it has never read one after the hours that its user
    /// data says.
    fn deadline(&self) -> Option<Timestamp> {
        let fallback = || {
            let seconds = UserData::of(self.user_data.as_deref()).fallback_seconds().filter(|_| !self.deadline_seen)?;
            Some(seconds_later(self.running_since?, seconds))
        };
        self.tagged_deadline().or_else(fallback)
    }

    /// The next change that time alone brings, if it is due.
    fn due(&self, cx: &Cx) -> Option<(Life, Timestamp)> {
        let after = |wait| self.since.checked_add(wait).unwrap_or(Timestamp::MAX);
        let (next, at) = match self.life {
            Life::Pending => (Life::Running, after(cx.options.settings.boot)),
            Life::Running if self.shutdown == "terminate" => (Life::ShuttingDown, self.deadline()?.max(self.since)),
            Life::Running => (Life::Stopping, self.deadline()?.max(self.since)),
            Life::ShuttingDown => (Life::Terminated, after(cx.options.settings.termination)),
            Life::Stopping => (Life::Stopped, after(cx.options.settings.termination)),
            Life::Terminated | Life::Stopped => return None,
        };
        (at <= cx.now).then_some((next, at))
    }
}

fn seconds_later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Lets instances' time pass.
pub(super) fn settle(account: &mut Account, cx: &Cx) {
    let mut ended = Vec::new();
    let alive = |instance: &Instance| instance.life != Life::Terminated;
    account.ec2.instances.revise(alive, |instance| {
        instance.deadline_seen |= instance.tagged_deadline().is_some();
        while let Some((next, at)) = instance.due(cx) {
            if instance.life == Life::Running {
                instance.reason = Some((
                    "Client.InstanceInitiatedShutdown".to_owned(),
                    "Client.InstanceInitiatedShutdown: Instance initiated shutdown".to_owned(),
                ));
            }
            instance.to(next, at);
            if next == Life::Terminated {
                ended.push((instance.id.clone(), at));
            }
        }
    });
    for (id, at) in &ended {
        ecs::instance_ends(account, cx, id);
        cx.engine.end_instance(id, cx.now);
        let outlives = |volume: &super::volumes::Volume| {
            volume.instance.as_ref() == Some(id) && !volume.disk.delete_on_termination
        };
        account.ec2.volumes.change(outlives, |volume| volume.instance = None);
        account.ec2.volumes.retain(|volume| volume.instance.as_ref() != Some(id));
        account.ec2.tokens.change(|token| token.made(id), |token| token.over = token.over.max(Some(*at)));
    }
    let State { instances, tokens, .. } = &mut *account.ec2;
    instances.retain(|instance| !instance.gone() || seconds_later(instance.since, REMEMBERED) > cx.now);
    tokens.retain(|token| {
        instances.iter().any(|instance| token.made(&instance.id))
            || token.over.is_some_and(|over| seconds_later(over, TOKEN_KEPT) > cx.now)
    });
}

fn not_found(ids: &[String]) -> ApiError {
    if let Some(bad) = ids.iter().find(|id| !well_formed(id, "i")) {
        return ApiError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{bad}\""));
    }
    let message = match ids {
        [one] => format!("The instance ID '{one}' does not exist"),
        many => format!("The instance IDs '{}' do not exist", many.join(", ")),
    };
    ApiError::new("InvalidInstanceID.NotFound", message)
}

/// The instance of this id, if it can be seen yet.
pub(super) fn find<'a>(state: &'a mut State, cx: &Cx, id: &str) -> Result<&'a mut Instance, ApiError> {
    state
        .instances
        .find_mut(|instance| instance.id == id && instance.visible(cx))
        .ok_or_else(|| not_found(&[id.to_owned()]))
}

/// The instances that a request names, all of which must be there.
fn named(state: &State, cx: &Cx, input: &Value) -> Result<Vec<String>, ApiError> {
    let ids = texts(input, "InstanceId");
    let missing: Vec<String> = ids
        .iter()
        .filter(|id| !state.instances.iter().any(|instance| instance.id == **id && instance.visible(cx)))
        .cloned()
        .collect();
    if missing.is_empty() { Ok(ids) } else { Err(not_found(&missing)) }
}

/// Refuses anything but `stop` and `terminate`.
pub(super) fn check_shutdown(behaviour: &str) -> Result<(), ApiError> {
    if ["stop", "terminate"].contains(&behaviour) {
        Ok(())
    } else {
        Err(invalid(format!("Value ({behaviour}) for parameter instanceInitiatedShutdownBehavior is invalid.")))
    }
}

fn filters<'a>() -> [Filter<&'a Instance>; 15] {
    [
        ("instance-id", |instance| vec![instance.id.clone()]),
        ("instance-state-name", |instance| vec![instance.life.name().to_owned()]),
        ("instance-state-code", |instance| vec![instance.life.shown()["code"].to_string()]),
        ("client-token", |instance| vec![instance.client_token.clone()]),
        ("reservation-id", |instance| vec![instance.reservation.clone()]),
        ("availability-zone", |instance| vec![instance.zone.clone()]),
        ("image-id", |instance| vec![instance.image.clone()]),
        ("instance-type", |instance| vec![instance.instance_type.clone()]),
        ("architecture", |instance| vec![instance.architecture.clone()]),
        ("key-name", |instance| instance.key_name.iter().cloned().collect()),
        ("vpc-id", |instance| instance.placed([&instance.vpc])),
        ("subnet-id", |instance| instance.placed([&instance.subnet])),
        ("private-ip-address", |instance| instance.placed([&instance.private_ip])),
        ("instance.group-id", |instance| instance.placed(&instance.groups)),
        ("iam-instance-profile.arn", |instance| instance.profile.iter().map(|(arn, _)| arn.clone()).collect()),
    ]
}

fn chosen<'a>(account: &'a Account, cx: &Cx, input: &Value) -> Result<Vec<&'a Instance>, ApiError> {
    let ids = named(account.ec2, cx, input)?;
    page_size(input, 1000)?;
    if !ids.is_empty() && number(input, "MaxResults").is_some() {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    let visible = account.ec2.instances.iter().filter(|instance| instance.visible(cx));
    let mut found = filtered(input, visible, |instance| &instance.tags, &filters())?;
    found.retain(|instance| ids.is_empty() || ids.contains(&instance.id));
    Ok(found)
}

/// DescribeInstances: pages of instances, those of one launch in one reservation.
pub(super) fn describe(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let found = chosen(account, cx, input)?.into_iter();
    let each = found.map(|instance| json!([instance.reservation, shown(account, instance)])).collect();
    let mut answer = paged("reservationSet", each, cx, input)?;
    let mut reservations: Vec<(Value, Vec<Value>)> = Vec::new();
    for one in list(&answer, "reservationSet") {
        match reservations.last_mut().filter(|(id, _)| *id == one[0]) {
            Some((_, instances)) => instances.push(one[1].clone()),
            None => reservations.push((one[0].clone(), vec![one[1].clone()])),
        }
    }
    let shown = |(id, instances)| json!({"reservationId": id, "ownerId": account.id, "groupSet": [], "instancesSet": instances});
    answer["reservationSet"] = reservations.into_iter().map(shown).collect();
    Ok(answer)
}

/// DescribeInstanceStatus: running ones, or all of them. The checks take some time; two minutes on AWS.
pub(super) fn describe_status(account: &Account, cx: &Cx, input: &Value) -> Answer {
    let all = flag(input, "IncludeAllInstances") == Some(true);
    let found = chosen(account, cx, input)?
        .into_iter()
        .filter(|instance| all || instance.life == Life::Running)
        .map(|instance| {
            let status = match instance.running_since {
                _ if instance.life != Life::Running => "not-applicable",
                Some(since) if since.checked_add(cx.options.settings.checks).is_ok_and(|ok| ok <= cx.now) => "ok",
                _ => "initializing",
            };
            json!({
                "instanceId": instance.id, "availabilityZone": instance.zone, "instanceState": instance.life.shown(),
                "availabilityZoneId": network::zone_id(&instance.zone),
                "instanceStatus": {"status": status}, "systemStatus": {"status": status},
            })
        })
        .collect();
    paged("instanceStatusSet", found, cx, input)
}

/// The instances that a request is to change, at least one.
fn to_change(account: &Account, cx: &Cx, input: &Value) -> Result<Vec<String>, ApiError> {
    let ids = named(account.ec2, cx, input)?;
    if ids.is_empty() {
        return Err(ApiError::new("InvalidParameterCombination", "No instances specified"));
    }
    Ok(ids)
}

fn change(account: &mut Account, cx: &Cx, ids: &[String], next: impl Fn(Life) -> Life) -> Answer {
    let mut changes = Vec::new();
    account.ec2.instances.change(
        |instance| ids.contains(&instance.id),
        |instance| {
            let before = instance.life;
            let after = next(before);
            if after != before {
                instance.to(after, cx.now);
                instance.reason = (after != Life::Pending).then(|| {
                    (
                        "Client.UserInitiatedShutdown".to_owned(),
                        "Client.UserInitiatedShutdown: User initiated shutdown".to_owned(),
                    )
                });
            }
            changes.push(json!({
                "instanceId": instance.id, "currentState": after.shown(), "previousState": before.shown(),
            }));
        },
    );
    Ok(json!({"instancesSet": changes}))
}

fn check_states(account: &Account, ids: &[String], states: &[Life], wanted: &str) -> Result<(), ApiError> {
    let wrong = |instance: &&Instance| ids.contains(&instance.id) && !states.contains(&instance.life);
    match account.ec2.instances.iter().find(wrong) {
        None => Ok(()),
        Some(instance) => Err(ApiError::new(
            "IncorrectInstanceState",
            format!("The instance '{}' is not in a state from which it can be {wanted}.", instance.id),
        )),
    }
}

/// TerminateInstances: a protected instance spares all that are named of its zone, and refuses the request.
pub(super) fn terminate(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let ids = to_change(account, cx, input)?;
    let named: Vec<&Instance> = account.ec2.instances.iter().filter(|instance| ids.contains(&instance.id)).collect();
    let protected: Vec<&Instance> =
        named.iter().copied().filter(|instance| instance.protected && !instance.gone()).collect();
    let refusal = protected.first().map(|instance| {
        ApiError::new(
            "OperationNotPermitted",
            format!(
                "The instance '{}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try \
                 again.",
                instance.id
            ),
        )
    });
    let spared = |instance: &Instance| protected.iter().any(|protected| protected.zone == instance.zone);
    let doomed: Vec<String> =
        named.iter().filter(|instance| !spared(instance)).map(|instance| instance.id.clone()).collect();
    let answer = change(account, cx, &doomed, |life| match life {
        Life::Terminated => Life::Terminated,
        _ => Life::ShuttingDown,
    });
    refusal.map_or(answer, Err)
}

/// StopInstances.
pub(super) fn stop(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let ids = to_change(account, cx, input)?;
    check_states(account, &ids, &[Life::Running, Life::Stopping, Life::Stopped], "stopped")?;
    change(account, cx, &ids, |life| match life {
        Life::Running => Life::Stopping,
        other => other,
    })
}

/// StartInstances.
pub(super) fn start(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let ids = to_change(account, cx, input)?;
    check_states(account, &ids, &[Life::Stopped, Life::Running, Life::Pending], "started")?;
    change(account, cx, &ids, |life| match life {
        Life::Stopped => Life::Pending,
        other => other,
    })
}
