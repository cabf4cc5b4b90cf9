//! What the shim does for whoever comes to its [`door`](super::door): programs and connections are the init's to start, and who
//! attaches is led to the [`console`](super::console).

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::channel::Order;
use super::door::{Ask, Door, Guest, Reply};
use super::shim::Shim;

impl Shim<'_> {
    /// Who asks for something in the pod.
    pub(super) fn look_outside(&mut self) {
        let seen = self.door.as_mut().map(Door::look);
        for guest in seen.into_iter().flatten() {
            let (order, files) = match guest {
                Guest::Asks { id, ask: Ask::Exec { container, argv, tty }, files } => {
                    (Order::Exec { id, container, argv, tty }, files)
                }
                Guest::Asks { id, ask: Ask::Forward { port }, files } => (Order::Forward { id, port }, files),
                Guest::Asks { id, ask: Ask::Attach { attach }, files } => {
                    self.attach(id, attach, files);
                    continue;
                }
                Guest::Asks { id, ask: Ask::Resize { columns, rows }, .. } => {
                    self.consoles.resize(id, columns, rows);
                    continue;
                }
                Guest::Goes { id } => {
                    self.consoles.leave(id, Instant::now());
                    (Order::EndExec { id }, VecDeque::new())
                }
            };
            let Some(channel) = &mut self.channel else { return };
            let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            let told = if files.is_empty() { channel.tell(&order) } else { channel.tell_with(&order, &files) };
            if let Err(error) = told {
                eprintln!("pod-shim: the init does not listen: {error}");
            }
        }
    }

    fn attach(&mut self, id: u64, container: usize, mut files: VecDeque<OwnedFd>) {
        let attached = match files.pop_front() {
            Some(sees) => self.consoles.attach(id, container, sees, files.pop_front()),
            None => Err("its output did not come along".to_owned()),
        };
        if let (Err(message), Some(door)) = (attached, &mut self.door) {
            door.answer(id, &Reply::Failed { message });
        }
    }

    /// Moves what is typed, and what is seen.
    pub(super) fn carry(&mut self) {
        for (id, reply) in self.consoles.carry(Instant::now()) {
            self.door.iter_mut().for_each(|door| door.answer(id, &reply));
        }
    }
}
