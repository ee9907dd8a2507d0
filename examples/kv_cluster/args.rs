//! The command line.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use crate::Fallible;

pub(crate) const USAGE: &str = "\
usage:
  kv_cluster [--input DIR] [--data DIR] [--quick]
      the trial: three processes, load, kills, comparison
        --input DIR     the files to store (default: the directory it is run in)
        --data DIR      where the nodes keep their logs; kept afterwards (default: a temporary directory)
        --quick         fewer files
  kv_cluster --id N --listen ADDR --peers 1=ADDR,2=ADDR,3=ADDR --data DIR [--snapshot-every N]
      one node; the same --peers on every node
  kv_cluster client ADDR,ADDR,... status | get KEY | put KEY VALUE
      a client of running nodes, in the order of their ids";

/// The requested command.
pub(crate) enum Command {
    Help,
    Trial(Trial),
    Node(NodeArgs),
    Client(ClientArgs),
}

/// The whole trial.
pub(crate) struct Trial {
    pub(crate) input: PathBuf,
    pub(crate) data: Option<PathBuf>,
    pub(crate) quick: bool,
}

/// One node.
pub(crate) struct NodeArgs {
    pub(crate) id: u64,
    pub(crate) listen: SocketAddr,
    /// All members, this node included.
    pub(crate) peers: BTreeMap<u64, SocketAddr>,
    pub(crate) data: PathBuf,
    /// Entries of a group after which it takes a snapshot and compacts.
    pub(crate) snapshot_every: u64,
    /// Started by an orchestrator: the node ends when its standard input closes.
    pub(crate) managed: bool,
}

/// A client's request.
pub(crate) struct ClientArgs {
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) words: Vec<String>,
}

/// Reads the command line.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Fallible<Command> {
    let mut words = words.peekable();
    if words.next_if(|word| word == "client").is_some() {
        let nodes = words.next().ok_or("client: nodes are missing")?;
        let nodes = nodes.split(',').map(address).collect::<Fallible<_>>()?;
        return Ok(Command::Client(ClientArgs { nodes, words: words.collect() }));
    }
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--quick" | "--managed" => drop(options.insert(word, String::new())),
            "--input" | "--data" | "--id" | "--listen" | "--peers" | "--snapshot-every" => {
                let value = words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
                options.insert(word, value);
            }
            _ => return Err(format!("unknown argument {word:?}\n{USAGE}").into()),
        }
    }
    if !options.contains_key("--id") {
        return Ok(Command::Trial(Trial {
            input: options.remove("--input").map_or_else(|| PathBuf::from("."), PathBuf::from),
            data: options.remove("--data").map(PathBuf::from),
            quick: options.contains_key("--quick"),
        }));
    }
    let need = |name: &str| options.get(name).ok_or_else(|| format!("a node needs {name}\n{USAGE}"));
    let peers = need("--peers")?.split(',').map(peer).collect::<Fallible<BTreeMap<_, _>>>()?;
    let id = need("--id")?.parse()?;
    if !peers.contains_key(&id) {
        return Err(format!(
            "--peers does not name node {id} itself; all members must be listed before any starts"
        )
        .into());
    }
    Ok(Command::Node(NodeArgs {
        id,
        listen: address(need("--listen")?)?,
        peers,
        data: need("--data")?.into(),
        snapshot_every: options.get("--snapshot-every").map_or(Ok(1000), |n| n.parse())?,
        managed: options.contains_key("--managed"),
    }))
}

fn peer(word: &str) -> Fallible<(u64, SocketAddr)> {
    let (id, at) = word.split_once('=').ok_or_else(|| format!("{word:?} is not ID=ADDR"))?;
    Ok((id.parse()?, address(at)?))
}

fn address(word: &str) -> Fallible<SocketAddr> {
    Ok(word.to_socket_addrs()?.next().ok_or_else(|| format!("{word:?} is not an address"))?)
}
