//! `flowswitchd control`: the shell around the conversation and the model. One thread, one `poll`.

mod care;

use crate::clients::{Asked, Clients};
use crate::conversation::{CloseReason, Conversation, Event};
use crate::files::{Role, replace, take_role};
use crate::link::{Link, LinkError, SOCKET as DATA_PATH_SOCKET};
use crate::load::{self, LoadError, Loaded};
use crate::model::{self, Known, Model};
use crate::orders::{Order, Orders};
use crate::wall::rfc3339;
use crate::{notify, steps};
use care::Keeping;
use control_config::{Config, FileError, Finding, counted};
use control_show::{
    Accepted, Answer, DataPath, FLOWS_MAX, FlowQuery, FlowRow, Order as Wish, Ordered, Refusal, RefusalKind,
    Reloaded, Request, SOCKET, Shown, VersionRow, View, What,
};
use dataplane_flow::Instant;
use dataplane_message::{FlowFilter, Plan, VERSION};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// The role of the one control process of a directory.
pub(crate) const ROLE: &str = "control";

/// The last configuration that a data path carried out: what holds when the file is broken later.
const ACCEPTED: &str = "accepted.toml";

/// How long the data path may be away before that is worth a line.
const PATIENCE_NS: u64 = 3_000_000_000;

/// Messages of the data path that are taken in one turn.
const MESSAGES_MAX: usize = 256;

/// How long the data path may take to list flows.
const FLOWS_MS: u64 = 5_000;

/// What a control process works with.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// The directory of sockets and locks.
    pub runtime_dir: PathBuf,
    /// The directory of what outlives a restart of the machine: roles, the operator's orders.
    pub state_dir: PathBuf,
}

/// Why a control process does not start, or ends.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The file cannot be used, and nothing else is there to use.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Another one is there.
    #[error("flowswitchd control is already running in {} (process {})", runtime_dir.display(), pid.map_or_else(|| "?".into(), |pid| pid.to_string()))]
    Running {
        /// The directory.
        runtime_dir: PathBuf,
        /// Its number.
        pid: Option<i32>,
    },
    /// A file or a socket.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Runs until an order says stop.
///
/// # Errors
///
/// [`ControlError`], before anything has begun; afterwards only if the system fails.
pub fn control(options: &ControlOptions, orders: &mut dyn Orders) -> Result<(), ControlError> {
    let mut control = Control::start(options)?;
    loop {
        control.deadlines();
        if control.wait(orders)? {
            return Ok(());
        }
    }
}

struct Control<'a> {
    options: &'a ControlOptions,
    clock: std::time::Instant,
    conversation: Conversation,
    model: Model,
    keeping: Keeping,
    link: Option<Link>,
    clients: Clients,
    /// Lists of flows that are being gathered, by the number of the question.
    lists: HashMap<u32, List>,
    /// Clients that wait for the end of a reload.
    reloads: Vec<u64>,
    loaded: Loaded,
    read_at: String,
    /// Why the file is not what is in force.
    file_note: Option<String>,
    /// What the data path refused.
    plan_note: Option<String>,
    /// Since when the data path cannot be reached; `None` after it has been told.
    unreachable_since: Option<Instant>,
    /// Given up last, when the socket is gone: the next control core makes its own.
    _role: Role,
}

/// A list of flows for a client.
struct List {
    client: u64,
    limit: usize,
    /// Flows in this state alone.
    state: Option<String>,
    rows: Vec<FlowRow>,
    until: Instant,
}

impl<'a> Control<'a> {
    fn start(options: &'a ControlOptions) -> Result<Self, ControlError> {
        let runtime_dir = &options.runtime_dir;
        let role = match take_role(runtime_dir, ROLE) {
            Ok(Ok(role)) => role,
            Ok(Err(pid)) => return Err(ControlError::Running { runtime_dir: runtime_dir.clone(), pid }),
            Err(source) => return Err(ControlError::Io { path: runtime_dir.clone(), source }),
        };
        let (loaded, file_note) = first_load(options)?;
        for warning in loaded.config.warnings() {
            tracing::warn!("{}: {warning}", options.config.display());
        }
        let path = runtime_dir.join(SOCKET);
        let clients = Clients::listen(&path).map_err(|source| ControlError::Io { path, source })?;
        let unix_ms = unix_ms();
        Ok(Self {
            options,
            clock: std::time::Instant::now(),
            conversation: Conversation::new(unix_ms, Arc::clone(&loaded.config), Instant::default()),
            model: Model::default(),
            keeping: Keeping::start(&options.state_dir),
            link: None,
            clients,
            lists: HashMap::new(),
            reloads: Vec::new(),
            loaded,
            read_at: rfc3339(unix_ms),
            file_note,
            plan_note: None,
            unreachable_since: Some(Instant::default()),
            _role: role,
        })
    }

    fn now(&self) -> Instant {
        Instant(self.clock.elapsed().as_nanos() as u64)
    }

    /// Waits for something to happen and lets it; whether it was the order to stop.
    fn wait(&mut self, orders: &mut dyn Orders) -> Result<bool, ControlError> {
        let timeout = self.timeout();
        let mut fds = vec![
            PollFd::new(orders.fd(), PollFlags::POLLIN),
            PollFd::new(self.clients.listener(), PollFlags::POLLIN),
        ];
        fds.extend(self.clients.interests().map(|(fd, flags)| PollFd::new(fd, flags)));
        let link = fds.len();
        if let Some(socket) = &self.link {
            let out = if socket.is_congested() { PollFlags::POLLOUT } else { PollFlags::empty() };
            fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN | out));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(ControlError::Io {
                    path: self.options.runtime_dir.clone(),
                    source: errno.into(),
                });
            }
        }
        let ready: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        if !ready[0].is_empty() {
            while let Some(order) = orders.next() {
                match order {
                    Order::Stop => return Ok(true),
                    Order::Reload => drop(self.reload(None)),
                    Order::ChildEnded => {}
                }
            }
        }
        if ready.get(link).is_some_and(|flags| !flags.is_empty()) {
            self.read_link();
        }
        let now = self.now();
        for asked in self.clients.turn(&ready[2..link], now) {
            self.carry_out(asked);
        }
        if !ready[1].is_empty() {
            self.clients.accept(now);
        }
        self.follow();
        Ok(false)
    }

    fn timeout(&self) -> PollTimeout {
        let deadlines = [
            self.conversation.next_deadline(),
            self.keeping.next_deadline(),
            self.clients.next_deadline(),
            self.lists.values().map(|list| list.until).min(),
        ];
        match deadlines.into_iter().flatten().min() {
            // Up to the next whole millisecond, so as not to wake just before it.
            Some(deadline) => {
                let ms = deadline.since(self.now()).div_ceil(1_000_000).min(60_000);
                PollTimeout::try_from(ms as u32).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn deadlines(&mut self) {
        // What has arrived counts before what has not: the disk, or another program, may have held this one up.
        self.read_link();
        let now = self.now();
        self.conversation.handle_deadline(now);
        self.care_deadline(now);
        let late: Vec<u32> =
            self.lists.iter().filter(|(_, list)| list.until <= now).map(|(query, _)| *query).collect();
        for query in late {
            let Some(list) = self.lists.remove(&query) else { continue };
            let message = "the data path did not list its flows in time";
            self.refuse(list.client, Refusal::new(RefusalKind::Timeout, message));
        }
        self.follow();
    }

    /// Does what the conversation wants, until it wants nothing.
    fn follow(&mut self) {
        loop {
            // What was decided goes before a plan that was not sent yet: so events come first.
            if let Some(event) = self.conversation.poll_event() {
                self.handle(event);
                continue;
            }
            if self.follow_care(self.now()) {
                continue;
            }
            let Some(message) = self.conversation.poll_transmit() else { return };
            if let Some(link) = &mut self.link
                && let Err(error) = link.send(&message)
            {
                self.lost(&error);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connect => self.connect(),
            Event::Close(reason) => {
                match reason {
                    CloseReason::Version { theirs } => tracing::error!(
                        "flowswitch-dp speaks version {theirs} of the messages and this program {VERSION}; install both from one release"
                    ),
                    CloseReason::Unwelcome => {}
                    CloseReason::Silent => tracing::warn!("the data path does not answer; connecting anew"),
                }
                self.link = None;
                let now = self.now();
                self.keeping.care.handle_lost(now);
                self.nobody_answers();
            }
            Event::Settled { epoch, before, steps } => self.settled(epoch, &before, &steps),
            Event::Refused { epoch, reason } => {
                tracing::error!("the data path refused plan {epoch}: {reason}; the old one stays in force");
                self.plan_note = Some(format!("the data path refused the last change: {reason}"));
                let message = format!("the data path refused the plan: {reason}; the old one stays in force");
                for client in core::mem::take(&mut self.reloads) {
                    self.refuse(client, Refusal::new(RefusalKind::PlanRefused, message.as_str()));
                }
            }
            Event::Report(report) => {
                let boot_id = self.conversation.in_force().map_or(0, |in_force| in_force.boot_id);
                self.keeping.care.handle_report(&report, self.now());
                self.model.handle_report(boot_id, report, self.now(), unix_ms());
            }
            Event::Adopted { boot_id, running, conditions } => {
                let now = self.now();
                self.keeping.care.handle_adopted(boot_id, running, *conditions, now);
                if !running {
                    self.care_for_coming_plan(now);
                }
            }
            Event::Signs(signs) => {
                let now = self.now();
                self.keeping.care.handle_signs(&signs, now);
            }
            Event::Punt { port, frame } => {
                let now = self.now();
                self.keeping.care.handle_punt(port, &frame, now);
            }
            Event::Flows { query, rows, last } => self.list(query, rows, last),
        }
    }

    fn connect(&mut self) {
        let path = self.options.runtime_dir.join(DATA_PATH_SOCKET);
        let now = self.now();
        match Link::connect(&path) {
            Ok(link) => {
                self.link = Some(link);
                self.unreachable_since = Some(now);
                self.conversation.handle_connected(now);
            }
            Err(error) => {
                // A start takes a moment; nobody has to hear of that.
                if self.unreachable_since.is_some_and(|since| now.since(since) >= PATIENCE_NS) {
                    tracing::warn!("waiting for the data path at {}: {error}", path.display());
                    self.unreachable_since = None;
                }
                self.conversation.handle_disconnected(now);
            }
        }
    }

    /// Takes what the data path has sent, but no more at once than leaves clients and deadlines their turn.
    fn read_link(&mut self) {
        for _ in 0..MESSAGES_MAX {
            let Some(link) = &mut self.link else { return };
            match link.flush().and_then(|()| link.receive()) {
                Ok(Some(message)) => {
                    let now = self.now();
                    self.conversation.handle_message(message, now);
                    self.follow();
                }
                Ok(None) => return,
                Err(error) => return self.lost(&error),
            }
        }
    }

    fn lost(&mut self, error: &LinkError) {
        tracing::warn!("connection to the data path lost: {error}");
        self.link = None;
        let now = self.now();
        self.unreachable_since = Some(now);
        self.conversation.handle_disconnected(now);
        self.keeping.care.handle_lost(now);
        self.nobody_answers();
    }

    /// Tells those who wait that there is nobody to answer.
    fn nobody_answers(&mut self) {
        for (_, list) in core::mem::take(&mut self.lists) {
            self.refuse(list.client, data_path_down());
        }
        for client in core::mem::take(&mut self.reloads) {
            let answer = self.put_off();
            self.answer(client, &answer);
        }
    }

    fn settled(&mut self, epoch: u64, before: &Plan, steps: &[dataplane_message::Step]) {
        let mut changes = steps::described(before, steps);
        changes.extend(self.care_for_plan(self.now()));
        for change in &changes {
            tracing::debug!("plan {epoch}: {change}");
        }
        let config = self.conversation.wanted();
        if Arc::ptr_eq(config, &self.loaded.config) {
            self.plan_note = None;
            let path = self.options.runtime_dir.join(ACCEPTED);
            if let Err(error) = replace(&path, self.loaded.text.as_bytes()) {
                tracing::warn!("{}: {error}", path.display());
            }
        }
        let status = status(epoch, config);
        tracing::info!("{status}, {}", counted(steps.len(), "step"));
        notify::ready(&status);
        let warnings: Vec<Finding> = config.warnings().iter().map(Finding::from).collect();
        for client in core::mem::take(&mut self.reloads) {
            let reloaded = Reloaded { plan: epoch, changes: changes.clone(), warnings: warnings.clone() };
            self.answer(client, &Answer::Reloaded(reloaded));
        }
    }

    fn carry_out(&mut self, asked: Asked) {
        let Asked { client, who, request } = asked;
        match request {
            Request::Show(What::Flows(query)) => {
                if let Err(refusal) = self.ask_flows(client, &query) {
                    self.refuse(client, refusal);
                }
            }
            Request::Show(what) => {
                let answer = self.view(&what).map_or_else(Answer::Refused, |view| self.shown(view));
                self.answer(client, &answer);
            }
            Request::Order(order) => {
                tracing::info!("{who} orders {order:?}");
                let answer = self.order(&order).unwrap_or_else(Answer::Refused);
                // The data path is told first: who has the answer counts on what was ordered (FS-33).
                self.follow();
                self.answer(client, &answer);
            }
            Request::Doctor => {
                let view = View::Findings(model::findings(&self.plan(), &self.known()));
                let answer = self.shown(view);
                self.answer(client, &answer);
            }
            Request::Accept { server } => {
                tracing::info!("{who} accepts the new MAC of server {server}");
                let answer = self.accept(&server).unwrap_or_else(Answer::Refused);
                self.answer(client, &answer);
            }
            Request::Reload => {
                tracing::info!("{who} asks for a reload");
                if let Some(answer) = self.reload(Some(client)) {
                    self.answer(client, &answer);
                }
            }
        }
    }

    /// What has been decided, as it stands now.
    fn known(&self) -> Known {
        Known::of(&self.keeping.care, &self.keeping.settings, self.now(), unix_ms())
    }

    /// What the operator wants at run time (FS-15, FS-33). A data path that is away is told when it is back.
    fn order(&mut self, order: &Wish) -> Result<Answer, Refusal> {
        if self.conversation.in_force().is_none() {
            return Err(data_path_down());
        }
        let (order, text) = model::resolved(order, &self.plan())?;
        let now = self.now();
        match self.keeping.care.handle_order(order, now) {
            Ok(()) => {
                // A new deadline alone changes nothing for the data path.
                self.keeping.keep(now);
                Ok(Answer::Ordered(Ordered { text }))
            }
            Err(error) => Err(Refusal::new(RefusalKind::OrderRefused, error.to_string())),
        }
    }

    /// Reads the file again. The answer comes now, or when the data path has carried it out.
    fn reload(&mut self, client: Option<u64>) -> Option<Answer> {
        match load::load(&self.options.config, &self.options.runtime_dir) {
            Ok(loaded) => {
                for warning in loaded.config.warnings() {
                    tracing::warn!("{}: {warning}", self.options.config.display());
                }
                self.loaded = loaded;
                self.file_note = None;
                self.read_at = rfc3339(unix_ms());
                let now = self.now();
                let answering = self.conversation.is_answering();
                self.conversation.handle_config(Arc::clone(&self.loaded.config), now);
                if answering {
                    self.reloads.extend(client);
                    None
                } else {
                    Some(self.put_off())
                }
            }
            Err(error) => {
                tell(&error);
                tracing::error!("the old configuration stays in force");
                self.file_note = Some(format!("{error}; the old configuration stays in force"));
                Some(Answer::Refused(refusal(&error)))
            }
        }
    }

    /// The file is good, and nobody is there to carry it out yet.
    fn put_off(&self) -> Answer {
        Answer::Reloaded(Reloaded {
            plan: 0,
            changes: vec!["the data path is not connected; the change holds as soon as it is".into()],
            warnings: self.loaded.config.warnings().iter().map(Finding::from).collect(),
        })
    }

    /// FS-1: a learned server's MAC changes only when the operator says so.
    fn accept(&mut self, server: &str) -> Result<Answer, Refusal> {
        let plan = self.plan();
        let target = named(Some(server), "server", |name| model::target_id(&plan, name))?;
        let contender = target.and_then(|id| Some((id, self.model.contender(id)?)));
        let Some((target, mac)) = contender else {
            let message = format!(
                "no other MAC claims to be server {server}; `flowctl show servers` tells when one does"
            );
            return Err(Refusal::new(RefusalKind::NothingToAccept, message));
        };
        if !self.conversation.accept_mac(target, mac) {
            return Err(data_path_down());
        }
        Ok(Answer::Accepted(Accepted { server: server.to_owned(), mac }))
    }

    fn ask_flows(&mut self, client: u64, query: &FlowQuery) -> Result<(), Refusal> {
        if query.limit > FLOWS_MAX {
            let message = format!("at most {FLOWS_MAX} flows are listed at once");
            return Err(Refusal::new(RefusalKind::BadRequest, message));
        }
        let limit = if query.limit == 0 { FLOWS_MAX } else { query.limit };
        let plan = self.plan();
        let filter = FlowFilter {
            cluster: named(query.cluster.as_deref(), "cluster", |name| model::cluster_id(&plan, name))?,
            target: named(query.server.as_deref(), "server", |name| model::target_id(&plan, name))?,
            client: query.client,
            // The data path does not choose by state, so it lists all of them.
            limit: if query.state.is_some() { FLOWS_MAX } else { limit },
        };
        let number = self.conversation.list_flows(filter).ok_or_else(data_path_down)?;
        let until = self.now().plus_millis(FLOWS_MS);
        self.lists.insert(
            number,
            List { client, limit: limit as usize, state: query.state.clone(), rows: Vec::new(), until },
        );
        Ok(())
    }

    fn list(&mut self, query: u32, rows: Vec<dataplane_message::FlowRow>, last: bool) {
        let plan = self.plan();
        let Some(list) = self.lists.get_mut(&query) else { return };
        let room = list.limit.saturating_sub(list.rows.len());
        let state = list.state.clone();
        let wanted = rows.into_iter().filter(|row| state.as_ref().is_none_or(|state| *state == row.state));
        list.rows.extend(wanted.take(room).map(|row| model::flow_row(&plan, row)));
        if last && let Some(mut list) = self.lists.remove(&query) {
            list.rows.sort_by(|a, b| {
                let key = |row: &FlowRow| (row.client, row.client_port, row.vip_port);
                key(a).cmp(&key(b)).then_with(|| a.cluster.cmp(&b.cluster))
            });
            let answer = self.shown(View::Flows(list.rows));
            self.answer(list.client, &answer);
        }
    }

    /// The plan that the figures belong to: the one in force, or the file's where there is none.
    fn plan(&self) -> Plan {
        match self.conversation.in_force() {
            Some(in_force) if in_force.epoch > 0 => in_force.plan.clone(),
            _ => self.conversation.wanted().plan(None),
        }
    }

    fn view(&self, what: &What) -> Result<View, Refusal> {
        if let What::Health(query) = what {
            let plan = self.plan();
            named(query.server.as_deref(), "server", |name| model::target_id(&plan, name))?;
        }
        if !matches!(what, What::Version) {
            return Ok(self.model.view(what, &self.plan(), &self.known()));
        }
        Ok(View::Version(Box::new(VersionRow {
            flowswitchd: env!("CARGO_PKG_VERSION").into(),
            messages: VERSION,
            boot_id: self.conversation.in_force().map(|in_force| format!("{:016x}", in_force.boot_id)),
            file: self.options.config.display().to_string(),
            read_at: self.read_at.clone(),
            pid: std::process::id(),
        })))
    }

    fn shown(&self, view: View) -> Answer {
        let data_path = DataPath {
            connected: self.conversation.is_answering(),
            plan: self.conversation.in_force().map_or(0, |in_force| in_force.epoch),
            report_age_ms: self.model.report_age_ms(self.now()),
            uptime_ms: self.model.uptime_ms(),
            note: self.file_note.clone().or_else(|| self.plan_note.clone()),
        };
        Answer::Shown(Box::new(Shown {
            switch: self.conversation.wanted().name().to_owned(),
            at: rfc3339(unix_ms()),
            data_path,
            view,
        }))
    }

    fn answer(&mut self, client: u64, answer: &Answer) {
        let now = self.now();
        self.clients.answer(client, answer, now);
    }

    fn refuse(&mut self, client: u64, refusal: Refusal) {
        self.answer(client, &Answer::Refused(refusal));
    }
}

/// The file; or, when it is broken while a data path runs, what that data path last accepted.
fn first_load(options: &ControlOptions) -> Result<(Loaded, Option<String>), ControlError> {
    let error = match load::load(&options.config, &options.runtime_dir) {
        Ok(loaded) => return Ok((loaded, None)),
        Err(error) => error,
    };
    let accepted = options.runtime_dir.join(ACCEPTED);
    match load::load(&accepted, &options.runtime_dir) {
        Ok(loaded) => {
            tell(&error);
            tracing::error!(
                "going on with the configuration that was last in force ({})",
                accepted.display()
            );
            Ok((loaded, Some(format!("{error}; the configuration that was last in force holds"))))
        }
        Err(_) => Err(error.into()),
    }
}

/// All that is wrong with a file, a line each.
fn tell(error: &LoadError) {
    tracing::error!("{error}");
    match error {
        LoadError::File(FileError::Unreadable { .. }) => {}
        LoadError::File(FileError::Mistakes { path, errors }) => {
            for error in &errors.errors {
                tracing::error!("{}:{}: {error}", path.display(), error.line);
            }
        }
        LoadError::NeedsRestart { changes, .. } => {
            for change in changes {
                tracing::error!("needs a restart: {change}");
            }
        }
    }
}

fn refusal(error: &LoadError) -> Refusal {
    let message = format!("{error}; the old configuration stays in force");
    match error {
        LoadError::File(FileError::Unreadable { .. }) => Refusal::new(RefusalKind::Unreadable, message),
        LoadError::File(FileError::Mistakes { errors, .. }) => Refusal {
            mistakes: errors.errors.iter().map(Finding::from).collect(),
            ..Refusal::new(RefusalKind::Mistakes, message)
        },
        LoadError::NeedsRestart { changes, .. } => Refusal {
            changes: changes.iter().map(ToString::to_string).collect(),
            ..Refusal::new(RefusalKind::NeedsRestart, message)
        },
    }
}

fn named<T>(name: Option<&str>, kind: &str, find: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
    name.map(|name| {
        let message = format!("there is no {kind} {name}; `flowctl show {kind}s` lists them");
        find(name).ok_or_else(|| Refusal::new(RefusalKind::UnknownName, message))
    })
    .transpose()
}

fn data_path_down() -> Refusal {
    Refusal::new(RefusalKind::DataPathDown, "the data path is not connected; is flowswitch-dp running?")
}

/// `plan 1, 5 ports, 1 worker`.
fn status(epoch: u64, config: &Config) -> String {
    let boot = config.boot();
    format!("plan {epoch}, {}, {}", counted(boot.ports.len(), "port"), counted(boot.workers.into(), "worker"))
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
