//! Ingress rules that let the whole world in where it does harm.

use super::{Protocol, RuleSpec};
use crate::stack::warning::{Code, SpecWarning};

/// Ports behind which a shell, a desktop or a program runner listens, by the name of what usually does.
const ADMIN: [(i64, &str); 9] = [
    (23, "telnet"),
    (2375, "Docker"),
    (2376, "Docker"),
    (3389, "remote desktop"),
    (5900, "VNC"),
    (5985, "WinRM"),
    (5986, "WinRM"),
    (8787, "RStudio"),
    (8888, "Jupyter"),
];

pub(super) fn warn(ingress: &[RuleSpec]) -> Vec<SpecWarning> {
    let open = ingress.iter().enumerate().filter(|(_, rule)| rule.cidr.is_some_and(|cidr| cidr.0.prefix_len() == 0));
    let hint = "name the network that may: cidr = \"203.0.113.0/24\" is your institute's, `/32` one address; without \
                any, a session by AWS Systems Manager needs no open port";
    let found = open.flat_map(|(at, rule)| findings(rule).into_iter().map(move |(code, what)| (at, code, what)));
    found
        .map(|(at, code, what)| {
            SpecWarning::new(code, format!("ingress.{at}.cidr"), format!("{what} open to the whole world"), hint)
        })
        .collect()
}

/// What an open rule opens. Each code may be meant (`allow`), so each is found by itself; every port is more than any one.
fn findings(rule: &RuleSpec) -> Vec<(Code, String)> {
    let first = rule.port.map_or(0, |port| port.0);
    let last = rule.to_port.map_or(first, |port| port.0);
    let ports = first..=last;
    match rule.protocol {
        Protocol::All => vec![(Code::OpenAllPorts, "every port is".to_owned())],
        Protocol::Tcp | Protocol::Udp if first <= 1 && last == 65535 => {
            vec![(Code::OpenAllPorts, "every port is".to_owned())]
        }
        Protocol::Tcp => {
            let ssh = ports.contains(&22).then(|| (Code::OpenSsh, "SSH (port 22) is".to_owned()));
            let told = ADMIN.iter().filter(|(port, _)| ports.contains(port));
            let told: Vec<String> = told.map(|(port, name)| format!("{name} (port {port})")).collect();
            let admin = match told.as_slice() {
                [] => None,
                [only] => Some((Code::OpenAdminPort, format!("{only} is"))),
                _ => Some((Code::OpenAdminPort, format!("{} are", told.join(", ")))),
            };
            ssh.into_iter().chain(admin).collect()
        }
        Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 => Vec::new(),
    }
}
