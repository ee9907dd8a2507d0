//! Moves raft's Ready into the log and, once durable, out again.

use std::sync::Arc;
use std::time::Instant;

use ::raft::eraftpb::{Entry, Message, MessageType, Snapshot};
use ::raft::{Ready, Storage as _};

use super::apply::Apply;
use super::error::{NodeError, NodeResult};
use super::persist::{InFlight, SharedTicket};
use super::proposal::EntryContext;
use super::seen::Seen;
use super::{Node, ReadId, trace};
use crate::error::LogUuid;
use crate::mutation::or_fault;
use crate::raft::{Error, WriteBatch};

/// Bytes of entries beyond which the Readys of further groups go into another batch.
const BATCH_TARGET: u64 = 16 << 20;

/// Number of attempts to build a batch if another thread writes to one of its groups in between (for example, saves a
/// snapshot). An attempt fails only because of such a write.
const CONFLICT_ATTEMPTS: usize = 64;

/// Work for the caller of a node, in any order; to raft, a lost message is a lost packet.
#[derive(Debug, Default)]
#[must_use = "messages must be sent and committed entries applied"]
pub struct Output {
    /// The group.
    pub group: u64,
    /// Messages to send, each to the node in its `to`. Everything they promise is durable.
    pub messages: Vec<Message>,
    /// Work to apply in this order and report with [`Node::report_applied`].
    pub apply: Vec<Apply>,
    /// Answers to [`Node::read_index`]: a state machine that has applied the index may serve the read.
    pub reads: Vec<(ReadId, u64)>,
}

impl Output {
    fn of(group: u64) -> Self {
        Output { group, ..Output::default() }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.apply.is_empty() && self.reads.is_empty()
    }
}

/// The result of driving many nodes.
#[derive(Debug, Default)]
#[must_use = "messages must be sent and committed entries applied"]
pub struct Driven {
    /// Work to do; nodes without any are left out.
    pub outputs: Vec<Output>,
    /// Nodes that have failed, by group, with the reason. The others are not affected.
    pub failed: Vec<(u64, NodeError)>,
}

/// Drives any number of nodes: all their writes go into one batch with one fsync (per log).
///
/// Returns as soon as everything is submitted. Call it again when there is something new: after ticks, messages,
/// proposals and reports, and when a batch is durable ([`Node::set_waker`]).
pub fn drive_all<'a>(nodes: impl IntoIterator<Item = &'a mut Node>) -> Driven {
    let mut driven = Driven::default();
    let mut running: Vec<(&mut Node, Output)> = Vec::new();
    for node in nodes {
        let group = node.group;
        match node.check_log() {
            Ok(()) => running.push((node, Output::of(group))),
            Err(e) => driven.failed.push((group, e)),
        }
    }
    loop {
        running.retain_mut(|(node, out)| match node.take_durable(out) {
            Ok(()) => true,
            Err(e) => {
                driven.failed.push((node.group, e));
                false
            }
        });
        let mut turns: Vec<Turn<'_>> =
            running.iter_mut().filter_map(|(node, out)| Turn::take(node, out)).collect();
        if turns.is_empty() {
            break;
        }
        while !turns.is_empty() {
            let rest = turns.split_off(share_of_one_batch(&turns));
            write(turns);
            turns = rest;
        }
    }
    driven.outputs.extend(running.into_iter().map(|(_, out)| out).filter(|out| !out.is_empty()));
    driven
}

/// How many of the first turns go into one batch: those of the same log, up to a size.
fn share_of_one_batch(turns: &[Turn<'_>]) -> usize {
    let log = turns.first().map(|turn| turn.node.log_uuid());
    let mut bytes = 0;
    let fits = |turn: &&Turn<'_>| {
        bytes += turn.bytes;
        Some(turn.node.log_uuid()) == log && bytes <= BATCH_TARGET
    };
    turns.iter().take_while(fits).count().max(1)
}

/// A node with the Ready it is about to have written. It exists within one call, during which nothing else can reach
/// the node.
struct Turn<'a> {
    node: &'a mut Node,
    out: &'a mut Output,
    /// `None` if only the node's own bookkeeping is written.
    ready: Option<Ready>,
    bytes: u64,
}

impl<'a> Turn<'a> {
    fn take(node: &'a mut Node, out: &'a mut Output) -> Option<Self> {
        let ready = if node.wants_ready() { Some(node.raw.ready()) } else { None };
        if ready.is_none() && node.configurations.unstored().is_none() {
            return None;
        }
        let bytes = ready.as_ref().map_or(0, |ready| {
            let entries: usize = ready.entries().iter().map(|e| e.data.len() + e.context.len()).sum();
            (entries + ready.snapshot().get_data().len()) as u64
        });
        Some(Turn { node, out, ready, bytes })
    }
}

/// Writes one batch for these turns and lets each node continue from there. A turn that cannot be written fails its
/// node, which shows at the next use of the node.
fn write(mut turns: Vec<Turn<'_>>) {
    for _ in 0..CONFLICT_ATTEMPTS {
        let Some(first) = turns.first() else { return };
        let mut batch = first.node.log.batch();
        let log = first.node.log.clone();
        turns.retain_mut(|turn| match turn.node.stage(&mut batch, turn.ready.as_ref()) {
            Ok(()) => true,
            Err(e) => {
                turn.node.fail(e.into());
                false
            }
        });
        if batch.is_empty() {
            return settle(turns, None);
        }
        match log.submit(batch) {
            Ok(ticket) => return settle(turns, Some(&SharedTicket::new(ticket))),
            Err(Error::BatchConflict { .. }) => {}
            // A single group's Ready may be the cause; it must not affect the others.
            Err(_) if turns.len() > 1 => {
                return turns.into_iter().for_each(|turn| write(vec![turn]));
            }
            Err(e) => {
                return turns.into_iter().for_each(|turn| drop(turn.node.fail(e.clone().into())));
            }
        }
    }
    for turn in turns {
        let group = turn.node.group;
        turn.node.fail(Error::BatchConflict { group }.into());
    }
}

fn settle(turns: Vec<Turn<'_>>, ticket: Option<&Arc<SharedTicket>>) {
    for turn in turns {
        turn.node.submitted(turn.ready, turn.bytes, ticket, turn.out);
    }
}

impl Node {
    /// Processes what has become durable, passes what raft wants written to the log, and returns the work to do.
    ///
    /// Does not wait for durability. (Exception: the file of a leader's snapshot is written and synced within the
    /// call, before the record that refers to it.) Call it after ticks, messages, proposals and reports, and when a
    /// batch is durable ([`Node::set_waker`], [`Node::wait_durable`]).
    ///
    /// # Errors
    /// [`NodeError::Failed`] when a write failed or the store refused it, and on every later call.
    pub fn drive(&mut self) -> NodeResult<Output> {
        let group = self.group;
        let Driven { mut outputs, mut failed } = drive_all([self]);
        match failed.pop() {
            Some((_, e)) => Err(e),
            None => Ok(outputs.pop().unwrap_or_else(|| Output::of(group))),
        }
    }

    /// Waits until the oldest batch in flight is durable, then drives. Does not wait if none is in flight.
    ///
    /// # Errors
    /// As [`Node::drive`].
    pub fn wait_durable(&mut self) -> NodeResult<Output> {
        self.alive()?;
        if let Err(e) = self.persists.wait_oldest() {
            return Err(self.fail(Error::from(e).into()));
        }
        self.drive()
    }

    /// Number of batches submitted and not known to be durable.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.persists.len()
    }

    fn log_uuid(&self) -> LogUuid {
        self.log.wal().uuid()
    }

    /// Whether raft has anything besides more committed entries for a state machine that is far behind.
    fn wants_ready(&self) -> bool {
        if !self.raw.has_ready() {
            return false;
        }
        if self.applying.unapplied_bytes() <= self.config.max_unapplied_size {
            return true;
        }
        let raft = &self.raw.raft;
        let log = &raft.raft_log;
        !raft.msgs.is_empty()
            || !raft.read_states.is_empty()
            || !log.unstable_entries().is_empty()
            || log.unstable_snapshot().is_some()
            || Seen { noted: self.last.noted, ..Seen::of(&self.raw) } != self.last
    }

    /// Puts a Ready, and other pending writes, into a batch.
    fn stage(&self, batch: &mut WriteBatch, ready: Option<&Ready>) -> Result<(), Error> {
        let mut writes = self.configurations.unstored().is_some();
        if let Some(ready) = ready {
            if ready.hs().is_some() || !ready.entries().is_empty() || !ready.snapshot().is_empty() {
                batch.ready(self.group, ready)?;
                writes = true;
            }
            // The snapshot brings its own configuration and applied index.
            if !ready.snapshot().is_empty() {
                return Ok(());
            }
        }
        if writes { self.stage_bookkeeping(batch) } else { Ok(()) }
    }

    /// The applied index and the ConfState, added to what is written anyway.
    fn stage_bookkeeping(&self, batch: &mut WriteBatch) -> Result<(), Error> {
        let applied = self.applying.applied;
        // While a snapshot is coming in, configuration changes below it are skipped: without them the applied index
        // must not be stored. (To raft those entries are gone, and have term 0.)
        if self.coming_snapshot().is_none()
            && applied > self.storage.applied().0
            && let Ok(term) = self.storage.term(applied)
        {
            batch.set_applied(self.group, applied, term)?;
        }
        if let Some((index, state)) = self.configurations.unstored() {
            batch.set_conf_state(self.group, index, state)?;
        }
        Ok(())
    }

    /// Writes applied index and ConfState now, and compacts up to an index if given.
    pub(super) fn write_bookkeeping(&mut self, compact: Option<u64>) -> NodeResult<()> {
        for _ in 0..CONFLICT_ATTEMPTS {
            let mut batch = self.log.batch();
            self.stage_bookkeeping(&mut batch)?;
            if let Some(index) = compact {
                batch.compact(self.group, index)?;
            }
            match self.log.submit(batch) {
                Ok(ticket) => {
                    let ticket = SharedTicket::new(ticket);
                    let mut out = Output::of(self.group);
                    self.submitted(None, 0, Some(&ticket), &mut out);
                    return Ok(());
                }
                Err(Error::BatchConflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Error::BatchConflict { group: self.group }.into())
    }

    /// The batch is ordered and readable, so raft may continue; whatever must wait goes into the queue.
    fn submitted(
        &mut self,
        ready: Option<Ready>,
        bytes: u64,
        ticket: Option<&Arc<SharedTicket>>,
        out: &mut Output,
    ) {
        if let Some((index, _)) = self.configurations.unstored() {
            self.configurations.set_stored(index);
        }
        let mut item = InFlight {
            number: None,
            messages: Vec::new(),
            snapshot: None,
            changes_log: false,
            changes_vote: false,
            bytes,
            since: Instant::now(),
            ticket: ticket.map(Arc::clone),
        };
        if let Some(ready) = ready {
            self.take_apart(ready, &mut item, out);
        }
        self.persists.push(item);
    }

    fn take_apart(&mut self, mut ready: Ready, item: &mut InFlight, out: &mut Output) {
        let snapshot: Snapshot = ready.snapshot().clone();
        item.number = Some(ready.number());
        item.changes_log = !ready.entries().is_empty() || !snapshot.is_empty();
        item.changes_vote =
            ready.hs().is_some_and(|hs| (hs.term, hs.vote) != (self.last.term, self.last.vote));
        self.last = Seen { noted: self.last.noted, ..Seen::of(&self.raw) };
        trace::event!(
            debug,
            group = self.group,
            number = ready.number(),
            entries = ready.entries().len(),
            bytes = item.bytes,
            snapshot = snapshot.get_metadata().index,
            commit = self.last.commit,
            "ready submitted"
        );
        // A new leader without an election (a single voter) has its vote in this very Ready, and its messages in that
        // term must not overtake it. A reply is a promise in every role.
        let hold_all = item.changes_vote || self.persists.any_vote_change();
        for message in ready.take_messages() {
            if hold_all || !may_go_now(&message) {
                item.messages.push(message);
            } else {
                self.send(message, out);
            }
        }
        let held = ready.take_persisted_messages();
        or_fault!(
            item.messages.extend(held),
            MessagesEarly => held.into_iter().for_each(|message| self.send(message, out))
        );
        for state in ready.take_read_states() {
            if let Some(context) = EntryContext::from_bytes(&state.request_ctx) {
                out.reads.push((ReadId(context), state.index));
            }
        }
        let committed = ready.take_committed_entries();
        self.raw.advance_append_async(ready);
        if !snapshot.is_empty() {
            let meta = snapshot.get_metadata();
            self.configurations.restart(meta.index, meta.get_conf_state().clone());
            item.snapshot = Some(snapshot);
        }
        self.hand_out(committed, out);
    }

    fn hand_out(&mut self, committed: Vec<Entry>, out: &mut Output) {
        if committed.is_empty() {
            return;
        }
        if self.proposals.len() > 0 {
            let leader = self.leader();
            committed.iter().for_each(|entry| self.proposals.committed(entry, leader));
        }
        let apply = Apply::Entries(committed);
        self.applying.hand_out(&apply);
        out.apply.push(apply);
    }

    /// Takes everything durable from the front of the queue, and releases what waited for it.
    fn take_durable(&mut self, out: &mut Output) -> NodeResult<()> {
        self.alive()?;
        loop {
            match self.persists.pop_durable() {
                Ok(None) => return Ok(()),
                Ok(Some(item)) => self.durable(item, out),
                Err(e) => return Err(self.fail(Error::from(e).into())),
            }
        }
    }

    fn durable(&mut self, item: InFlight, out: &mut Output) {
        let micros = item.since.elapsed().as_micros();
        trace::event!(debug, group = self.group, bytes = item.bytes, micros = micros, "durable");
        if let Some(number) = item.number {
            self.raw.on_persist_ready(number);
        }
        for message in item.messages {
            self.send(message, out);
        }
        if let Some(snapshot) = item.snapshot {
            let index = snapshot.get_metadata().index;
            self.proposals.passed(self.applying.handed_out, index);
            let apply = Apply::Snapshot(snapshot);
            self.applying.hand_out(&apply);
            out.apply.push(apply);
            // The entries below are gone and the snapshot's configuration is in effect: for raft, it is applied. When
            // the state machine finishes it concerns only the state machine.
            if index > self.raw.raft.raft_log.applied {
                self.raw.advance_apply_to(index);
            }
        }
    }

    fn send(&self, message: Message, out: &mut Output) {
        trace::event!(
            trace,
            group = self.group,
            to = message.to,
            kind = message.get_msg_type() as i32,
            term = message.term,
            index = message.index,
            entries = message.entries.len(),
            "message out"
        );
        out.messages.push(message);
    }
}

/// Whether a leader may send this before its own write is durable (Raft thesis, 10.2.1): it promises nothing about
/// this node's disk.
fn may_go_now(message: &Message) -> bool {
    matches!(
        message.get_msg_type(),
        MessageType::MsgAppend
            | MessageType::MsgHeartbeat
            | MessageType::MsgSnapshot
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndexResp
    )
}
