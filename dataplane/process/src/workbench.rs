//! Opening and closing devices takes drivers some 100 ms: done on a thread of its own, so that the
//! publisher keeps its time.

use dataplane_port::PortId;
use ffi_dpdk::{DeviceName, Eal, EthPort, OpenError, PortSettings};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// The thread. Dropping waits for what is under way.
#[derive(Debug)]
pub(crate) struct Workbench {
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Job {
    Open(PortId, DeviceName, PortSettings),
    Close(PortId, EthPort),
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Done {
    Opened(PortId, Result<EthPort, OpenError>),
    Closed(PortId),
}

impl Workbench {
    pub(crate) fn new(eal: Eal) -> Self {
        let (jobs, todo) = channel();
        let (finished, done) = channel();
        let thread = std::thread::spawn(move || {
            for job in todo {
                let result = match job {
                    Job::Open(port, name, settings) => {
                        Done::Opened(port, EthPort::open(&eal, name, &settings))
                    }
                    Job::Close(port, device) => {
                        drop(device);
                        Done::Closed(port)
                    }
                };
                if finished.send(result).is_err() {
                    break;
                }
            }
        });
        Self { jobs: Some(jobs), done, thread: Some(thread) }
    }

    pub(crate) fn open(&self, port: PortId, name: DeviceName, settings: PortSettings) {
        self.put(Job::Open(port, name, settings));
    }

    pub(crate) fn close(&self, port: PortId, device: EthPort) {
        self.put(Job::Close(port, device));
    }

    /// Something that was finished since the last call.
    pub(crate) fn finished(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    fn put(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            jobs.send(job).expect("the thread ends only when this is dropped");
        }
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panicked, and has said so.
            drop(thread.join());
        }
    }
}
