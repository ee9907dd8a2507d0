//! The trial: starts the nodes, loads them, kills them, and compares.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::args::Trial;
use crate::client::Client;
use crate::input::{self, Input};
use crate::node::{META_PREFIX, groups};
use crate::report::{NodeReport, table};

const NODES: [u64; 3] = [1, 2, 3];
const WORKERS: usize = 8;
const PUT_WITHIN: Duration = Duration::from_secs(30);
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// A cold start that needs more terms than this has an election problem.
const MOST_TERMS: u64 = 5;

/// The size of the trial.
struct Scale {
    /// Minimum number of puts in the first load.
    puts: usize,
    /// Leaders killed during it.
    kills: usize,
    /// Entries of a group between two snapshots.
    snapshot_every: u64,
}

const QUICK: Scale = Scale { puts: 300, kills: 1, snapshot_every: 20 };
const FULL: Scale = Scale { puts: 6000, kills: 3, snapshot_every: 200 };
/// The first load ends at this many bytes, however few puts that is.
const MOST_BYTES: u64 = 96 << 20;

/// Runs the trial; returns whether nothing was lost and nothing was wrong.
pub(crate) fn run(trial: &Trial) -> Fallible<bool> {
    let scratch;
    let data = match &trial.data {
        Some(dir) => dir.clone(),
        None => {
            scratch = tempfile::Builder::new().prefix("seawall-kv-").tempdir()?;
            scratch.path().to_owned()
        }
    };
    let input = input::read(&trial.input, trial.quick.then_some(60))?;
    println!(
        "input    {} files, {:.1} MiB from {} ({} left out)",
        input.files.len(),
        input.bytes as f64 / 1_048_576.0,
        trial.input.display(),
        input.skipped
    );
    let scale = if trial.quick { QUICK } else { FULL };
    let mut course = Course::new(Cluster::new(data, scale.snapshot_every)?);
    course.cold_start()?;
    course.load_and_kill_leaders(&input, &scale)?;
    course.leave_one_away(&input, &scale)?;
    course.kill_all()?;
    course.verdict()
}

/// The three processes.
struct Cluster {
    addresses: BTreeMap<u64, SocketAddr>,
    data: PathBuf,
    snapshot_every: u64,
    running: BTreeMap<u64, Child>,
}

impl Cluster {
    /// All addresses are known before anything is started.
    fn new(data: PathBuf, snapshot_every: u64) -> Fallible<Self> {
        let mut held = Vec::new();
        let mut addresses = BTreeMap::new();
        for id in NODES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            addresses.insert(id, listener.local_addr()?);
            held.push(listener);
        }
        Ok(Cluster { addresses, data, snapshot_every, running: BTreeMap::new() })
    }

    fn dir(&self, id: u64) -> PathBuf {
        self.data.join(format!("node-{id}"))
    }

    fn start(&mut self, id: u64) -> Fallible<()> {
        let dir = self.dir(id);
        std::fs::create_dir_all(&self.data)?;
        let peers: Vec<String> = self.addresses.iter().map(|(id, at)| format!("{id}={at}")).collect();
        let listen = self.addresses.get(&id).ok_or("no address")?;
        let complaints = File::options().create(true).append(true).open(self.complaints(id))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["--id", &id.to_string(), "--listen", &listen.to_string(), "--peers", &peers.join(",")])
            .args(["--data".as_ref(), dir.as_os_str()])
            .args(["--snapshot-every", &self.snapshot_every.to_string(), "--managed"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(complaints)
            .spawn()?;
        self.running.insert(id, child);
        Ok(())
    }

    /// SIGKILL: no handler, no flush.
    fn kill(&mut self, id: u64) -> Fallible<()> {
        if let Some(mut child) = self.running.remove(&id) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn complaints(&self, id: u64) -> PathBuf {
        self.data.join(format!("node-{id}.err"))
    }

    /// An error with the output of a node that ended on its own.
    fn check(&mut self) -> Fallible<()> {
        for (id, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let said =
                    std::fs::read_to_string(self.data.join(format!("node-{id}.err"))).unwrap_or_default();
                return Err(format!("node {id} ended on its own ({status}): {}", said.trim()).into());
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // A process that is already gone is fine.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What was acknowledged and must be there in the end.
type Acknowledged = Mutex<BTreeMap<String, Arc<[u8]>>>;

/// A key and its value.
type Item = (String, Arc<[u8]>);

/// The course of the trial.
struct Course {
    cluster: Cluster,
    client: Client,
    acknowledged: Arc<Acknowledged>,
    begun: Instant,
}

impl Course {
    fn new(cluster: Cluster) -> Self {
        let client = Client::new(&cluster.addresses);
        Course { cluster, client, acknowledged: Arc::default(), begun: Instant::now() }
    }

    fn say(&self, what: &str) {
        println!("{:>6.2} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Asks until there is an answer.
    fn wait<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Client) -> Option<T>) -> Fallible<T> {
        let begun = Instant::now();
        while begun.elapsed() < SETTLE_WITHIN {
            self.cluster.check()?;
            if let Some(answer) = ask(&mut self.client) {
                return Ok(answer);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{what}: not within {SETTLE_WITHIN:?}").into())
    }

    /// Waits until every group has a leader among the running nodes, which all of them follow.
    fn wait_for_leaders(&mut self) -> Fallible<Vec<NodeReport>> {
        let running: Vec<u64> = self.cluster.running.keys().copied().collect();
        self.wait("a leader in every group", |client| {
            let reports: Vec<_> = running.iter().filter_map(|id| client.status(*id).ok()).collect();
            let led = |group: u64| {
                let mut leaders = reports.iter().filter_map(|r| r.groups.get(&group)).map(|g| g.leader);
                let first = leaders.next()?;
                (running.contains(&first) && leaders.all(|leader| leader == first)).then_some(())
            };
            (reports.len() == running.len() && groups().all(|group| led(group).is_some())).then_some(reports)
        })
    }

    fn cold_start(&mut self) -> Fallible<()> {
        for id in NODES {
            self.cluster.start(id)?;
        }
        let reports = self.wait_for_leaders()?;
        self.say("cold start: every group has a leader");
        for group in groups() {
            let of = reports.iter().filter_map(|r| r.groups.get(&group));
            let (term, leader) = of.map(|g| (g.term, g.leader)).max().unwrap_or_default();
            println!("            group {group}: node {leader} leads in term {term}");
            if term > MOST_TERMS {
                return Err(format!("group {group} needed {term} terms to elect a leader").into());
            }
        }
        for (id, at) in self.cluster.addresses.clone() {
            let (key, value) = (format!("{META_PREFIX}node/{id}"), at.to_string());
            self.client.put(id, &key, value.as_bytes(), PUT_WITHIN)?;
            self.lock().insert(key, value.into_bytes().into());
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that leads the most groups.
    fn busiest(&mut self) -> Fallible<u64> {
        let reports = self.wait_for_leaders()?;
        Ok(reports.iter().max_by_key(|r| r.leads()).map(|r| r.id).ok_or("no node answers")?)
    }

    fn load_and_kill_leaders(&mut self, input: &Input, scale: &Scale) -> Fallible<()> {
        // Every file under its path, then again under other names as often as the scale requires.
        let mut items: Vec<Item> =
            input.files.iter().map(|(k, v)| (k.clone(), Arc::from(v.as_slice()))).collect();
        let files = items.clone();
        for round in 1.. {
            if items.len() >= scale.puts || input.bytes * (round + 1) > MOST_BYTES {
                break;
            }
            items.extend(files.iter().map(|(k, v)| (format!("copy/{round}/{k}"), Arc::clone(v))));
        }
        self.say(&format!("load: {} puts, through all three nodes", items.len()));
        let begun = Instant::now();
        self.load(&items, scale.kills, |course| {
            let victim = course.busiest()?;
            course.cluster.kill(victim)?;
            course.say(&format!("SIGKILL to node {victim}, which leads the most groups"));
            let killed = Instant::now();
            course.wait_for_leaders()?;
            let took = killed.elapsed().as_millis();
            course.say(&format!("the other two have a leader in every group after {took} ms"));
            course.cluster.start(victim)?;
            course.say(&format!("node {victim} is started again"));
            Ok(())
        })?;
        let took = begun.elapsed().as_secs_f64();
        self.wait_until_equal()?;
        self.say(&format!("loaded in {took:.1} s, and all three have caught up"));
        Ok(())
    }

    /// Stores all items from several clients at once; `midway` is called that many times, evenly spread over the
    /// load.
    fn load(
        &mut self,
        items: &[Item],
        times: usize,
        mut midway: impl FnMut(&mut Self) -> Fallible<()>,
    ) -> Fallible<()> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let addresses = self.cluster.addresses.clone();
        let acknowledged = Arc::clone(&self.acknowledged);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| scope.spawn(|| put_all(items, &next, &done, &addresses, &acknowledged)))
                .collect();
            let (mut shown, mut happened) = (0, 0);
            let followed = loop {
                let count = done.load(Ordering::Relaxed);
                show_progress(count, items.len(), &mut shown);
                let due = happened < times && count * (times + 1) >= items.len() * (happened + 1);
                let step = if due { midway(self) } else { self.cluster.check() };
                happened += usize::from(due);
                if step.is_err() || workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                    break step;
                }
                thread::sleep(Duration::from_millis(2));
            };
            // No client continues with items that will not be checked.
            next.store(items.len(), Ordering::Relaxed);
            let ended =
                workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a client panicked")?);
            followed.and(ended)
        })
    }

    fn leave_one_away(&mut self, input: &Input, scale: &Scale) -> Fallible<()> {
        let leader = self.busiest()?;
        let away = NODES.into_iter().find(|id| *id != leader).ok_or("no follower")?;
        let before = self.client.status(away)?;
        self.cluster.kill(away)?;
        self.wait_for_leaders()?;
        self.say(&format!("SIGKILL to node {away}; it stays down"));
        let mut round = 0;
        let compacted = |reports: &[NodeReport]| {
            before.groups.iter().filter(|(id, _)| **id != crate::node::META).all(|(id, old)| {
                reports.iter().filter_map(|r| r.groups.get(id)).all(|now| now.first > old.last + 1)
            })
        };
        loop {
            round += 1;
            let most = (scale.snapshot_every as usize * 6).max(40);
            let again = input.files.iter().cycle().take(most).enumerate();
            let items: Vec<Item> =
                again.map(|(n, (k, v))| (format!("away/{round}/{n}/{k}"), Arc::from(v.as_slice()))).collect();
            self.load(&items, 0, |_| Ok(()))?;
            // Snapshots are saved in the background.
            thread::sleep(Duration::from_millis(200));
            let running: Vec<u64> = self.cluster.running.keys().copied().collect();
            let reports: Vec<_> = running.iter().filter_map(|id| self.client.status(*id).ok()).collect();
            if reports.len() == 2 && compacted(&reports) {
                break;
            }
            if round >= 10 {
                return Err("the other nodes did not compact".into());
            }
        }
        self.say("the other two have compacted beyond its last entry");
        self.cluster.start(away)?;
        self.wait_until_equal()?;
        let received: u64 = self.client.status(away)?.groups.values().map(|g| g.received).sum();
        self.say(&format!("node {away} is back, through {received} snapshots"));
        if received == 0 {
            return Err(format!("node {away} should have needed a snapshot").into());
        }
        Ok(())
    }

    fn kill_all(&mut self) -> Fallible<()> {
        for id in NODES {
            self.cluster.kill(id)?;
        }
        self.say("SIGKILL to all three");
        for id in NODES {
            self.cluster.start(id)?;
        }
        let begun = Instant::now();
        self.wait_for_leaders()?;
        self.wait_until_equal()?;
        let took = begun.elapsed().as_millis();
        self.say(&format!("all three started again, elected and caught up in {took} ms"));
        let (key, value) = (format!("{META_PREFIX}survived"), b"everything".to_vec());
        self.client.put(1, &key, &value, PUT_WITHIN)?;
        self.lock().insert(key, value.into());
        Ok(())
    }

    /// Waits until all nodes have applied the same index in every group, and everything that is committed.
    fn wait_until_equal(&mut self) -> Fallible<Vec<NodeReport>> {
        self.wait_for_leaders()?;
        let running: Vec<u64> = self.cluster.running.keys().copied().collect();
        self.wait("all nodes at the same index", |client| {
            let reports: Vec<_> = running.iter().filter_map(|id| client.status(*id).ok()).collect();
            let equal = |group: u64| {
                let of: Vec<_> = reports.iter().filter_map(|r| r.groups.get(&group)).collect();
                let last = of.iter().map(|g| g.last).max();
                of.iter().all(|g| Some(g.applied) == last)
            };
            (reports.len() == running.len() && groups().all(equal)).then_some(reports)
        })
    }

    fn verdict(&mut self) -> Fallible<bool> {
        let reports = self.wait_until_equal()?;
        println!("\n{}", table(&reports));
        let (mut lost, mut wrong) = (0, 0);
        for id in NODES {
            let found = self.client.dump(id)?;
            let expected = self.lock();
            let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
            let other = found
                .iter()
                .filter(|(key, value)| expected.get(*key).is_none_or(|right| **right != ***value))
                .count();
            println!(
                "  node {id}: {} keys compared byte for byte, {missing} lost, {other} wrong",
                expected.len()
            );
            lost += missing;
            wrong += other;
        }
        let acknowledged = self.lock().len();
        let good = lost == 0 && wrong == 0;
        println!(
            "\n{}: acknowledged {acknowledged}, lost {lost}, wrong {wrong}, in {:.1} s",
            if good { "PASSED" } else { "FAILED" },
            self.begun.elapsed().as_secs_f64()
        );
        Ok(good)
    }
}

/// One client's share.
fn put_all(
    items: &[Item],
    next: &AtomicUsize,
    done: &AtomicUsize,
    addresses: &BTreeMap<u64, SocketAddr>,
    acknowledged: &Acknowledged,
) -> Fallible<()> {
    let mut client = Client::new(addresses);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let Some((key, value)) = items.get(n) else { return Ok(()) };
        let at = NODES.get(n % NODES.len()).copied().unwrap_or(1);
        client.put(at, key, value, PUT_WITHIN)?;
        acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::clone(value));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A counter at a terminal; otherwise a line at each quarter.
fn show_progress(count: usize, all: usize, shown: &mut usize) {
    let mut out = std::io::stdout().lock();
    let step = if out.is_terminal() { all.div_ceil(100) } else { all.div_ceil(4) };
    if count == *shown || (count / step.max(1) == *shown / step.max(1) && count != all) {
        return;
    }
    *shown = count;
    let line = format!("            acknowledged {count:>5} of {all}");
    let written =
        if out.is_terminal() && count != all { write!(out, "{line}\r") } else { writeln!(out, "{line}") };
    // A failure to show progress is not worth failing for.
    drop(written.and_then(|()| out.flush()));
}
