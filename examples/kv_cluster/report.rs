//! Reports of the nodes about themselves, and a table of them.

use std::collections::BTreeMap;

use crate::Fallible;

/// One node.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeReport {
    pub(crate) id: u64,
    pub(crate) recovered_us: u64,
    pub(crate) torn: u64,
    pub(crate) log_bytes: u64,
    pub(crate) groups: BTreeMap<u64, GroupReport>,
}

/// One group on one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupReport {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: u64,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) received: u64,
}

impl GroupReport {
    pub(crate) fn entries(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

impl NodeReport {
    pub(crate) fn parse(text: &str) -> Fallible<NodeReport> {
        let mut report = NodeReport::default();
        for line in text.lines() {
            let words: BTreeMap<&str, &str> =
                line.split_whitespace().filter_map(|w| w.split_once('=')).collect();
            let number = |name: &str| -> Fallible<u64> {
                Ok(words.get(name).ok_or_else(|| format!("no {name} in {line:?}"))?.parse()?)
            };
            if words.contains_key("group") {
                let group = GroupReport {
                    role: words.get("role").copied().unwrap_or_default().to_owned(),
                    term: number("term")?,
                    leader: number("leader")?,
                    commit: number("commit")?,
                    applied: number("applied")?,
                    first: number("first")?,
                    last: number("last")?,
                    received: number("received")?,
                };
                report.groups.insert(number("group")?, group);
            } else {
                report.id = number("id")?;
                report.recovered_us = number("recovered_us")?;
                report.torn = number("torn")?;
                report.log_bytes = number("log_bytes")?;
            }
        }
        Ok(report)
    }

    /// Number of groups it leads.
    pub(crate) fn leads(&self) -> usize {
        self.groups.values().filter(|group| group.role == "leader").count()
    }
}

/// All nodes and groups, for people.
pub(crate) fn table(nodes: &[NodeReport]) -> String {
    let mut out = String::from(
        "  node  group  role           term    commit   applied   entries   snapshots received\n",
    );
    for node in nodes {
        for (id, group) in &node.groups {
            let name = if *id == crate::node::META { "meta".to_owned() } else { format!("data {}", id - 1) };
            out.push_str(&format!(
                "  {:>4}  {name:<6} {:<13} {:>5}  {:>8}  {:>8}  {:>8}   {:>18}\n",
                node.id,
                group.role,
                group.term,
                group.commit,
                group.applied,
                group.entries(),
                group.received
            ));
        }
    }
    out.push_str("\n  node  leads   log MiB   entries   recovered in ms   torn bytes cut\n");
    for node in nodes {
        let entries: u64 = node.groups.values().map(GroupReport::entries).sum();
        out.push_str(&format!(
            "  {:>4}  {:>5}  {:>8.1}  {entries:>8}   {:>15.1}   {:>14}\n",
            node.id,
            node.leads(),
            node.log_bytes as f64 / 1_048_576.0,
            node.recovered_us as f64 / 1000.0,
            node.torn
        ));
    }
    out
}
