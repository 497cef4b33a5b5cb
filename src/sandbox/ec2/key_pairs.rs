//! Key pairs: public halves under a name. The private half of one that EC2 makes is told once and never kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use md5::{Digest, Md5};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha1::Sha1;
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, Mpint, PrivateKey, PublicKey};

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

/// A public key in OpenSSH's form: as it is, or out of RFC 4716's file
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-key-pairs.html>).
fn openssh(material: &str) -> Result<String, ApiError> {
    let Some(rest) = material.strip_prefix("---- BEGIN SSH2 PUBLIC KEY ----") else { return Ok(material.to_owned()) };
    let (inside, _) = rest.split_once("---- END SSH2 PUBLIC KEY ----").ok_or_else(bad_format)?;
    let (mut body, mut in_header) = (String::new(), false);
    for line in inside.lines() {
        // A header goes on in the next line after a backslash.
        let header = in_header || line.contains(':');
        in_header = header && line.ends_with('\\');
        if !header {
            body.push_str(line.trim());
        }
    }
    let blob = STANDARD.decode(&body).map_err(|_| bad_format())?;
    let length = blob.get(..4).and_then(|four| <[u8; 4]>::try_from(four).ok()).ok_or_else(bad_format)?;
    let name = blob.get(4..).and_then(|rest| rest.get(..u32::from_be_bytes(length) as usize)).ok_or_else(bad_format)?;
    Ok(format!("{} {body}", std::str::from_utf8(name).map_err(|_| bad_format())?))
}

/// A key pair as it is kept.
struct New {
    key_type: &'static str,
    public_key: String,
    fingerprint: String,
}

/// Keeps a new key pair under the request's name; what EC2 answers, but for a private key.
fn keep(account: &mut Account, cx: &Cx, input: &Value, new: New) -> Answer {
    let name = required(input, "KeyName")?;
    tag_types(input, &["key-pair"])?;
    let tags = tags_for(input, "key-pair")?;
    let state = &mut account.ec2;
    let id = state.id("key", cx.now);
    let answer = json!({
        "keyPairId": id, "keyName": name, "keyFingerprint": new.fingerprint, "tagSet": tag_set(&tags),
    });
    state.key_pairs.push(KeyPair {
        id,
        name: name.to_owned(),
        key_type: new.key_type.to_owned(),
        public_key: new.public_key,
        fingerprint: new.fingerprint,
        created: cx.now,
        tags,
    });
    Ok(answer)
}

/// Refuses a name that is too long, empty or taken.
fn check_name(account: &Account, input: &Value) -> Result<(), ApiError> {
    let name = required(input, "KeyName")?;
    if name.is_empty() || name.chars().count() > 255 {
        return Err(super::invalid(
            "Value for parameter KeyName is invalid. Length exceeds maximum of 255 or is zero.",
        ));
    }
    if exists(account, name) {
        return Err(ApiError::new("InvalidKeyPair.Duplicate", format!("The keypair '{name}' already exists.")));
    }
    Ok(())
}

/// ImportKeyPair.
pub(super) fn import(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    let material = STANDARD.decode(required(input, "PublicKeyMaterial")?).map_err(|_| bad_format())?;
    let material = String::from_utf8(material).map_err(|_| bad_format())?.trim().to_owned();
    let public_key = openssh(&material)?;
    let (key_type, fingerprint) = inspect(&public_key)?;
    check_name(account, input)?;
    keep(account, cx, input, New { key_type, public_key, fingerprint })
}

/// A new ED25519 key, and its private half in OpenSSH's form.
fn ed25519() -> Result<(New, String), Box<dyn std::error::Error>> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    let fingerprint = STANDARD.encode(key.fingerprint(HashAlg::Sha256).as_bytes());
    let new = New { key_type: "ed25519", public_key: key.public_key().to_openssh()?, fingerprint };
    Ok((new, key.to_openssh(LineEnding::LF)?.to_string()))
}

/// A new RSA key of 2,048 bits, and its private half in PEM. Its fingerprint is the SHA-1 of the private key in PKCS #8's DER
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html>).
fn rsa() -> Result<(New, String), Box<dyn std::error::Error>> {
    let key = RsaPrivateKey::new(&mut OsRng, 2048)?;
    let bytes: Vec<String> =
        Sha1::digest(key.to_pkcs8_der()?.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let public = RsaPublicKey {
        e: Mpint::from_positive_bytes(&key.e().to_bytes_be())?,
        n: Mpint::from_positive_bytes(&key.n().to_bytes_be())?,
    };
    let public_key = PublicKey::from(KeyData::Rsa(public)).to_openssh()?;
    let new = New { key_type: "rsa", public_key, fingerprint: bytes.join(":") };
    Ok((new, key.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF)?.to_string()))
}

/// CreateKeyPair: the private key is in this answer and nowhere else.
pub(super) fn create(account: &mut Account, cx: &Cx, input: &Value) -> Answer {
    check_name(account, input)?;
    let made = match text(input, "KeyType").unwrap_or("rsa") {
        "ed25519" => ed25519(),
        "rsa" => rsa(),
        other => return Err(super::invalid(format!("Value ({other}) for parameter KeyType is invalid."))),
    };
    let (new, private) =
        made.map_err(|error| ApiError::new("InternalError", format!("no key could be made: {error}")).status(500))?;
    let mut answer = keep(account, cx, input, new)?;
    answer["keyMaterial"] = json!(private);
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
