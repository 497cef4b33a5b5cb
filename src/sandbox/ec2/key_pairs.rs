//! Key pairs: public halves under a name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{HashAlg, PublicKey};

use super::{Tags, filtered, required, tag_set, tag_types, tags_for, time};
use crate::account::Account;
use crate::input::{flag, text, texts};
use crate::service::{Answer, ApiError, Cx};

/// A key pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyPair {
    pub(super) id: String,
    pub(super) name: String,
    key_type: String,
    public_key: String,
    fingerprint: String,
    created: Timestamp,
    pub(super) tags: Tags,
}

fn bad_format() -> ApiError {
    ApiError::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
}

/// Type and fingerprint: ED25519's is OpenSSH's SHA-256; an imported RSA key's is the MD5 of its DER form, as
/// `openssl rsa -pubout -outform DER | openssl md5 -c` prints it.
fn inspect(public_key: &str) -> Result<(&'static str, String), ApiError> {
    let key = PublicKey::from_openssh(public_key).map_err(|_| bad_format())?;
    match key.key_data() {
        KeyData::Ed25519(_) => Ok(("ed25519", STANDARD.encode(key.fingerprint(HashAlg::Sha256).as_bytes()))),
        KeyData::Rsa(rsa) => {
            let bytes: Vec<String> =
                Md5::digest(subject_public_key_info(rsa)).iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(("rsa", bytes.join(":")))
        }
        _ => Err(bad_format()),
    }
}

/// The algorithm `rsaEncryption` (1.2.840.113549.1.1.1), whose parameters are null.
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// An RSA key in DER: X.509's `SubjectPublicKeyInfo`. SSH's and DER's whole numbers have the same bytes.
fn subject_public_key_info(key: &RsaPublicKey) -> Vec<u8> {
    let numbers = [der(0x02, key.n.as_bytes()), der(0x02, key.e.as_bytes())].concat();
    let bits = [&[0][..], &der(0x30, &numbers)].concat();
    der(0x30, &[RSA_ENCRYPTION, &der(0x03, &bits)].concat())
}

/// An element of DER: its tag, its length, its content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    if content.len() < 0x80 {
        element.push(content.len() as u8);
    } else {
        let length: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        element.push(0x80 | length.len() as u8);
        element.extend(length);
    }
    element.extend(content);
    element
}

/// ImportKeyPair.
pub(super) fn import(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let name = required(input, "KeyName")?;
    if name.is_empty() || name.chars().count() > 255 {
        return Err(super::invalid(
            "Value for parameter KeyName is invalid. Length exceeds maximum of 255 or is zero.",
        ));
    }
    let material = STANDARD.decode(required(input, "PublicKeyMaterial")?).map_err(|_| bad_format())?;
    let material = String::from_utf8(material).map_err(|_| bad_format())?.trim().to_owned();
    let (key_type, fingerprint) = inspect(&material)?;
    tag_types(input, &["key-pair"])?;
    let tags = tags_for(input, "key-pair")?;
    let state = &mut account.ec2;
    if state.key_pairs.iter().any(|pair| pair.name == name) {
        return Err(ApiError::new("InvalidKeyPair.Duplicate", format!("The keypair '{name}' already exists.")));
    }
    let id = state.id("key", cx.now);
    let answer = json!({
        "keyPairId": id, "keyName": name, "keyFingerprint": fingerprint, "tagSet": tag_set(&tags),
    });
    state.key_pairs.push(KeyPair {
        id,
        name: name.to_owned(),
        key_type: key_type.to_owned(),
        public_key: material,
        fingerprint,
        created: cx.now,
        tags,
    });
    Ok(answer)
}

/// The refusal for a name or id that is not there.
pub(super) fn not_found(what: &str) -> ApiError {
    ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{what}' does not exist"))
}

/// DescribeKeyPairs, which has no pages.
pub(super) fn describe(account: &Account, input: &Value) -> Answer {
    let pairs = &account.ec2.key_pairs;
    let (names, ids) = (texts(input, "KeyName"), texts(input, "KeyPairId"));
    if let Some(name) = names.iter().find(|name| !pairs.iter().any(|pair| pair.name == **name)) {
        return Err(not_found(name));
    }
    if let Some(id) = ids.iter().find(|id| !pairs.iter().any(|pair| pair.id == **id)) {
        return Err(not_found(id));
    }
    let with_key = flag(input, "IncludePublicKey") == Some(true);
    let found = filtered(
        input,
        pairs.iter(),
        |pair| &pair.tags,
        &[
            ("key-pair-id", |pair| vec![pair.id.clone()]),
            ("key-name", |pair| vec![pair.name.clone()]),
            ("fingerprint", |pair| vec![pair.fingerprint.clone()]),
        ],
    )?;
    let asked =
        |pair: &&KeyPair| (names.is_empty() && ids.is_empty()) || names.contains(&pair.name) || ids.contains(&pair.id);
    let shown = |pair: &KeyPair| {
        let mut one = json!({
            "keyPairId": pair.id, "keyName": pair.name, "keyFingerprint": pair.fingerprint,
            "keyType": pair.key_type, "createTime": time(pair.created), "tagSet": tag_set(&pair.tags),
        });
        if with_key {
            one["publicKey"] = json!(pair.public_key);
        }
        one
    };
    Ok(json!({"keySet": found.into_iter().filter(asked).map(shown).collect::<Vec<_>>()}))
}

/// DeleteKeyPair: an unknown name is no error, an unknown id is one.
pub(super) fn delete(account: &mut Account, input: &Value) -> Answer {
    let pairs = &mut account.ec2.key_pairs;
    let place = match (text(input, "KeyPairId"), text(input, "KeyName")) {
        (Some(id), _) => Some(pairs.iter().position(|pair| pair.id == id).ok_or_else(|| not_found(id))?),
        (None, Some(name)) => pairs.iter().position(|pair| pair.name == name),
        (None, None) => {
            return Err(ApiError::new(
                "MissingParameter",
                "The request must contain the parameter KeyName or KeyPairId",
            ));
        }
    };
    let mut answer = json!({"return": true});
    if let Some(place) = place {
        answer["keyPairId"] = json!(pairs.remove(place).map(|pair| pair.id));
    }
    Ok(answer)
}

/// Whether there is a key pair of this name.
pub(super) fn exists(account: &Account, name: &str) -> bool {
    account.ec2.key_pairs.iter().any(|pair| pair.name == name)
}
