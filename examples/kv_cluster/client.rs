//! A client: finds the leader by asking, and retries until it has an answer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::args::ClientArgs;
use crate::report::NodeReport;
use crate::wire::Frame;

const CONNECT_WITHIN: Duration = Duration::from_millis(300);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(15);

/// Connections to the nodes, opened when needed.
pub(crate) struct Client {
    nodes: BTreeMap<u64, SocketAddr>,
    links: BTreeMap<u64, BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(nodes: &BTreeMap<u64, SocketAddr>) -> Self {
        Client { nodes: nodes.clone(), links: BTreeMap::new() }
    }

    fn link(&mut self, node: u64) -> Fallible<&mut BufReader<TcpStream>> {
        if !self.links.contains_key(&node) {
            let address = self.nodes.get(&node).ok_or_else(|| format!("there is no node {node}"))?;
            let stream = TcpStream::connect_timeout(address, CONNECT_WITHIN)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.set_write_timeout(Some(ANSWER_WITHIN))?;
            self.links.insert(node, BufReader::new(stream));
        }
        Ok(self.links.get_mut(&node).ok_or("no connection")?)
    }

    fn ask(&mut self, node: u64, request: &Frame) -> Fallible<Frame> {
        let answer = self.link(node).and_then(|link| {
            request.write(link.get_mut())?;
            link.get_mut().flush()?;
            Frame::read(link)?.ok_or_else(|| "the node hung up".into())
        });
        if answer.is_err() {
            // What a broken connection still delivers belongs to another request.
            self.links.remove(&node);
        }
        answer
    }

    fn next(&self, after: u64) -> u64 {
        let later = self.nodes.range(after + 1..).next();
        later.or_else(|| self.nodes.first_key_value()).map_or(after, |(id, _)| *id)
    }

    /// Stores a value, starting at any node. Returns when it is acknowledged. Repeating a put does no harm, so all
    /// other outcomes are retried.
    pub(crate) fn put(&mut self, at: u64, key: &str, value: &[u8], within: Duration) -> Fallible<()> {
        let request = Frame::Put { key: key.to_owned(), value: value.to_vec() };
        let (begun, mut node) = (Instant::now(), at);
        let mut last = String::new();
        while begun.elapsed() < within {
            match self.ask(node, &request) {
                Ok(Frame::Done) => return Ok(()),
                Ok(Frame::GoTo { leader }) if leader != 0 && leader != node => {
                    node = leader;
                    continue;
                }
                Ok(Frame::GoTo { .. }) => last = format!("node {node} does not know a leader"),
                Ok(Frame::Again { why }) => last = format!("node {node}: {why}"),
                Ok(_) => return Err(format!("node {node} gave no answer to a put").into()),
                Err(e) => last = format!("node {node}: {e}"),
            }
            node = self.next(node);
            thread::sleep(PAUSE);
        }
        Err(format!("{key:?} was not acknowledged within {within:?}; last: {last}").into())
    }

    /// The value under the key in a node's own state machine.
    pub(crate) fn get(&mut self, node: u64, key: &str) -> Fallible<Option<Vec<u8>>> {
        match self.ask(node, &Frame::Get { key: key.to_owned() })? {
            Frame::Value { value } => Ok(Some(value)),
            Frame::Nothing => Ok(None),
            _ => Err(format!("node {node} gave no answer to a get").into()),
        }
    }

    /// A node's report about itself.
    pub(crate) fn status(&mut self, node: u64) -> Fallible<NodeReport> {
        match self.ask(node, &Frame::Status)? {
            Frame::Text { text } => NodeReport::parse(&text),
            _ => Err(format!("node {node} gave no status").into()),
        }
    }

    /// Everything in a node's own state machine.
    pub(crate) fn dump(&mut self, node: u64) -> Fallible<BTreeMap<String, Vec<u8>>> {
        let mut all = BTreeMap::new();
        let mut frame = self.ask(node, &Frame::Dump)?;
        loop {
            match frame {
                Frame::Pair { key, value } => drop(all.insert(key, value)),
                Frame::End => return Ok(all),
                _ => return Err(format!("node {node} gave no dump").into()),
            }
            frame = Frame::read(self.link(node)?)?.ok_or("the node hung up")?;
        }
    }
}

/// `kv_cluster client ...`
pub(crate) fn run(args: &ClientArgs) -> Fallible<()> {
    let nodes: BTreeMap<u64, SocketAddr> = (1..).zip(args.nodes.iter().copied()).collect();
    let mut client = Client::new(&nodes);
    match args.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["status"] => {
            let reports: Vec<_> = nodes.keys().filter_map(|id| client.status(*id).ok()).collect();
            println!("{}", crate::report::table(&reports));
        }
        ["get", key] => match client.get(1, key)? {
            Some(value) => {
                let mut out = std::io::stdout();
                out.write_all(&value)?;
                // Only the value, unless a person reads it.
                if out.is_terminal() {
                    writeln!(out)?;
                }
            }
            None => return Err(format!("{key:?} does not exist").into()),
        },
        // If the value names a file, the file's content is used.
        ["put", key, value] => {
            let value = fs::read(value).unwrap_or_else(|_| value.as_bytes().to_vec());
            client.put(1, key, &value, Duration::from_secs(30))?;
        }
        _ => return Err(crate::args::USAGE.into()),
    }
    Ok(())
}
