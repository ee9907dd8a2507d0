//! Messages to the other nodes: a thread, a queue and a connection for each.
//!
//! A connection is opened when there is something to send, and reopened after it broke, doubling the pause each time.
//! What cannot be sent is dropped and reported: raft resends what matters.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use raft::eraftpb::{Message, MessageType};

use crate::Fallible;
use crate::node::Event;
use crate::wire::Frame;

const QUEUE: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// The connections to the other nodes.
pub(crate) struct Transport {
    peers: BTreeMap<u64, SyncSender<(u64, Message)>>,
    events: Sender<Event>,
}

impl Transport {
    /// Starts a thread for each peer except this node.
    pub(crate) fn start(
        id: u64,
        peers: &BTreeMap<u64, SocketAddr>,
        events: &Sender<Event>,
    ) -> Fallible<Self> {
        let mut queues = BTreeMap::new();
        for (&peer, &address) in peers.iter().filter(|(peer, _)| **peer != id) {
            let (send, receive) = sync_channel(QUEUE);
            let mut line = Line {
                peer,
                address,
                events: events.clone(),
                stream: None,
                pause: FIRST_PAUSE,
                not_before: None,
            };
            thread::Builder::new().name(format!("to-{peer}")).spawn(move || line.run(&receive))?;
            queues.insert(peer, send);
        }
        Ok(Transport { peers: queues, events: events.clone() })
    }

    /// Queues a message; if the queue is full, the message is lost and reported.
    pub(crate) fn send(&self, group: u64, message: Message) {
        let Some(queue) = self.peers.get(&message.to) else { return };
        if let Err(e) = queue.try_send((group, message)) {
            let (std::sync::mpsc::TrySendError::Full((group, message))
            | std::sync::mpsc::TrySendError::Disconnected((group, message))) = e;
            for event in lost(group, &message) {
                drop(self.events.send(event));
            }
        }
    }
}

/// What raft must be told about a message that was not delivered.
fn lost(group: u64, message: &Message) -> impl Iterator<Item = Event> + use<> {
    let peer = message.to;
    let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
    let snapshot = snapshot.then_some(Event::SnapshotSent { group, peer, delivered: false });
    [Event::Unreachable { group, peer }].into_iter().chain(snapshot)
}

/// One peer's connection.
struct Line {
    peer: u64,
    address: SocketAddr,
    events: Sender<Event>,
    stream: Option<BufWriter<TcpStream>>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Line {
    fn run(&mut self, queue: &Receiver<(u64, Message)>) {
        while let Ok((group, message)) = queue.recv() {
            self.send(group, message);
            // Everything queued is sent at once.
            loop {
                match queue.try_recv() {
                    Ok((group, message)) => self.send(group, message),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if self.stream.as_mut().is_some_and(|stream| stream.flush().is_err()) {
                self.broken();
            }
        }
    }

    fn send(&mut self, group: u64, message: Message) {
        let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let frame = Frame::Raft { group, message: Box::new(message) };
        let sent = self.connection().is_some_and(|stream| {
            frame.write(stream).and_then(|()| if snapshot { stream.flush() } else { Ok(()) }).is_ok()
        });
        let Frame::Raft { message, .. } = frame else { return };
        if sent {
            if snapshot {
                drop(self.events.send(Event::SnapshotSent { group, peer: self.peer, delivered: true }));
            }
            return;
        }
        if self.stream.is_some() {
            self.broken();
        }
        for event in lost(group, &message) {
            drop(self.events.send(event));
        }
    }

    fn connection(&mut self) -> Option<&mut BufWriter<TcpStream>> {
        if self.stream.is_none() && self.not_before.is_none_or(|at| Instant::now() >= at) {
            match TcpStream::connect_timeout(&self.address, CONNECT_WITHIN) {
                Ok(stream) => {
                    // Both are optimisations; it works without them.
                    drop(stream.set_nodelay(true));
                    drop(stream.set_write_timeout(Some(WRITE_WITHIN)));
                    self.stream = Some(BufWriter::with_capacity(1 << 16, stream));
                    self.pause = FIRST_PAUSE;
                    self.not_before = None;
                }
                Err(_) => {
                    self.not_before = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        self.stream.as_mut()
    }

    fn broken(&mut self) {
        // Not flushed on drop: its content is lost like the rest.
        if let Some(stream) = self.stream.take() {
            drop(stream.into_parts());
        }
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
