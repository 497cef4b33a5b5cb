//! What of an instance can be read or changed one attribute at a time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::instances::{self, Life};
use super::{groups, invalid, network, required, tags};
use crate::account::Account;
use crate::images;
use crate::input::{flag, text, texts};
use crate::service::{Answer, ApiError, Cx};

/// DescribeInstanceAttribute.
pub(super) fn describe(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let attribute = required(input, "Attribute")?;
    let instance = instances::find(account.ec2, cx, required(input, "InstanceId")?)?;
    let mut answer = json!({"instanceId": instance.id});
    let value = match attribute {
        "userData" => instance.user_data.as_ref().map_or_else(|| json!({}), |data| json!({"value": data})),
        "instanceType" => json!({"value": instance.instance_type}),
        "disableApiTermination" => json!({"value": instance.protected}),
        "instanceInitiatedShutdownBehavior" => json!({"value": instance.shutdown}),
        "rootDeviceName" => {
            json!({"value": images::by_id(&account.region, &instance.image).map_or("/dev/xvda", |image| image.root_device)})
        }
        "groupSet" => instance.groups.iter().map(|id| json!({"groupId": id})).collect(),
        other => return Err(invalid(format!("the sandbox does not serve the attribute '{other}'"))),
    };
    answer[attribute] = value;
    Ok(answer)
}

/// An attribute in either of its two spellings: `Name.Value`, or `Attribute=name` with `Value`.
fn given<'a>(input: &'a Value, member: &str, attribute: &str) -> Option<&'a str> {
    input
        .get(member)
        .and_then(|nested| text(nested, "Value"))
        .or_else(|| (text(input, "Attribute") == Some(attribute)).then(|| text(input, "Value")).flatten())
}

/// ModifyInstanceAttribute: groups, shutdown behaviour, protection, and user data of a stopped one.
pub(super) fn modify(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let plain = ["InstanceId", "Value", "DryRun"];
    if input.as_object().is_some_and(|members| members.keys().filter(|key| !plain.contains(&key.as_str())).count() > 1)
    {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            "Fields for multiple attribute types specified: only one attribute can be modified at a time",
        ));
    }
    let ids = texts(input, "GroupId");
    let new_groups = if ids.is_empty() {
        None
    } else {
        Some(groups::resolve(account.ec2, &ids, &[], &network::default_vpc(&account.region))?)
    };
    let instance = instances::find(account.ec2, cx, required(input, "InstanceId")?)?;
    if matches!(instance.life, Life::Terminated | Life::ShuttingDown) {
        return Err(ApiError::new(
            "IncorrectInstanceState",
            format!("The instance '{}' is not in a valid state for this operation.", instance.id),
        ));
    }
    let shutdown = given(input, "InstanceInitiatedShutdownBehavior", "instanceInitiatedShutdownBehavior");
    if let Some(behaviour) = shutdown {
        instances::check_shutdown(behaviour)?;
    }
    let user_data = given(input, "UserData", "userData");
    if let Some(data) = user_data {
        if instance.life != Life::Stopped {
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!("The instance '{}' is not in the 'stopped' state.", instance.id),
            ));
        }
        STANDARD.decode(data).map_err(|_| invalid("Invalid BASE64 encoding of user data."))?;
    }
    let protected = match given(input, "DisableApiTermination", "disableApiTermination") {
        None => None,
        Some(word) => Some(
            word.parse::<bool>()
                .map_err(|_| invalid(format!("Value ({word}) for parameter disableApiTermination is invalid.")))?,
        ),
    };
    let protected = protected.or_else(|| input.get("DisableApiTermination").and_then(|nested| flag(nested, "Value")));
    if let Some(new) = new_groups {
        instance.groups = new;
    }
    if let Some(behaviour) = shutdown {
        behaviour.clone_into(&mut instance.shutdown);
    }
    if let Some(data) = user_data {
        instance.user_data = Some(data.to_owned());
    }
    if let Some(protected) = protected {
        instance.protected = protected;
    }
    Ok(json!({"return": true}))
}

/// ModifyInstanceMetadataOptions.
pub(super) fn modify_metadata(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let instance = instances::find(account.ec2, cx, required(input, "InstanceId")?)?;
    let metadata = instance.metadata.clone().with(input)?;
    if metadata.instance_metadata_tags == "enabled" {
        tags::for_metadata(&instance.tags)?;
    }
    instance.metadata = metadata;
    Ok(json!({"instanceId": instance.id, "instanceMetadataOptions": instance.metadata.shown("pending")}))
}
