//! A Raft group of one member, with a state machine: propose, apply, snapshot, compact, restart.
//!
//! `cargo run --release --example single_node_raft`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use raft::eraftpb::ConfState;
use seawall::raft::{Apply, Node, NodeConfig, RaftOptions};

const GROUP: u64 = 7;

/// The state machine: words and their counts. It is in memory, so a restart rebuilds it from the snapshot and the
/// later entries.
#[derive(Default, Debug, PartialEq, Eq)]
struct Words(BTreeMap<String, u64>);

impl Words {
    fn apply(&mut self, command: &[u8]) {
        *self.0.entry(String::from_utf8_lossy(command).into_owned()).or_default() += 1;
    }

    fn save(&self) -> Vec<u8> {
        self.0.iter().map(|(word, count)| format!("{count} {word}\n")).collect::<String>().into_bytes()
    }

    fn load(data: &[u8]) -> Words {
        let text = String::from_utf8_lossy(data);
        let pair = |line: &str| line.split_once(' ').and_then(|(n, w)| Some((w.to_owned(), n.parse().ok()?)));
        Words(text.lines().filter_map(pair).collect())
    }
}

struct Server {
    node: Node,
    words: Words,
    applied: u64,
}

impl Server {
    fn start(dir: &Path) -> Result<Server, Box<dyn Error>> {
        let log = RaftOptions::new().node_id(1).open(dir)?; // the id is pinned to the directory
        let storage = match log.group(GROUP) {
            Some(storage) => storage,
            None => log.create_group(GROUP, ConfState::from((vec![1], vec![])))?,
        };
        // The state machine starts where the snapshot ends.
        let snapshot = storage.snapshot_data()?;
        let words = snapshot.as_ref().map_or_else(Words::default, |s| Words::load(&s.data));
        let (applied, term) = snapshot.map_or((0, 0), |s| (s.get_metadata().index, s.get_metadata().term));
        let mut node = Node::new(NodeConfig::new(1).applied(applied, term), storage)?;
        node.campaign()?;
        Ok(Server { node, words, applied })
    }

    /// One turn of the loop. A server with peers would also send `out.messages`, pass incoming messages to
    /// `Node::step`, and call `Node::tick` about every 100 ms.
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let out = self.node.wait_durable()?;
        for apply in out.apply {
            if let Apply::Snapshot(snapshot) = &apply {
                self.words = Words::load(&snapshot.data);
            }
            apply.commands().for_each(|entry| self.words.apply(&entry.data));
            self.applied = apply.last().0;
            self.node.report_applied(self.applied)?;
        }
        Ok(())
    }

    fn count(&mut self, word: &str) -> Result<(), Box<dyn Error>> {
        while !self.node.is_leader() {
            self.turn()?;
        }
        let proposal = self.node.propose(word.as_bytes().to_vec(), Duration::from_secs(5))?;
        while proposal.outcome().is_none() {
            self.turn()?;
        }
        proposal.wait()?; // applied; otherwise it says why it never will be
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path())?;
    let text = "the sea the wall the log and the sea";
    for word in text.split(' ') {
        server.count(word)?;
    }
    println!("{:?}", server.words);

    // The snapshot replaces the entries up to here; then they can be removed.
    server.node.save_snapshot(server.applied, server.words.save())?;
    server.node.compact(server.applied)?;
    server.count("afterwards")?;
    println!("applied up to {}, the snapshot and later entries are kept", server.applied);

    let before = server.words;
    drop(server.node);
    let mut server = Server::start(dir.path())?;
    assert_ne!(server.words, before, "later entries are applied again");
    while server.words != before {
        server.turn()?;
    }
    println!("after a restart: the same {} words", server.words.0.len());
    assert_eq!(server.words.0.get("the"), Some(&4));
    Ok(())
}
