use super::*;
use crate::pod::ContainerPlan;

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe")
}

fn consoles(stdin_once: bool) -> Consoles {
    let interactive = Interactive { stdin: true, stdin_once, tty: false };
    let container = ContainerPlan { interactive, ..ContainerPlan::default() };
    Consoles::new(&PodPlan { containers: vec![container], ..PodPlan::default() }, vec![None])
}

fn read(from: &OwnedFd) -> Option<Vec<u8>> {
    let mut piece = vec![0; 1 << 20];
    let length = rustix::io::read(from, &mut piece).ok()?;
    piece.truncate(length);
    Some(piece)
}

#[test]
fn all_see_and_all_type_until_the_first_has_ended() {
    let mut all = consoles(true);
    let (stdin, their_stdin) = pipe();
    let (screen, sees) = pipe();
    assert!(all.attach(1, 0, sees, None).is_err(), "it does not run");
    assert!(all.has_pipe(0));
    all.started(0, Some(their_stdin));
    all.show(0, b"unseen");
    let guests = [1, 2].map(|id| {
        let ((screen, sees), (types, keys)) = (pipe(), pipe());
        all.attach(id, 0, sees, Some(types)).expect("attached");
        (screen, Some(keys))
    });
    let [(first, mut keys1), (second, keys2)] = guests;
    all.show(0, b"seen");
    rustix::io::write(keys1.as_ref().expect("keys"), b"a").expect("typed");
    rustix::io::write(keys2.as_ref().expect("keys"), b"b").expect("typed");
    assert!(all.carry(Instant::now()).is_empty() && !all.is_held_up(0));
    assert_eq!((read(&first), read(&second)), (Some(b"seen".to_vec()), Some(b"seen".to_vec())));
    assert_eq!(read(&stdin), Some(b"ab".to_vec()));
    // What was typed before the end is read before the end.
    rustix::io::write(keys1.as_ref().expect("keys"), b"c").expect("typed");
    keys1.take();
    for _ in 0..2 {
        assert!(all.carry(Instant::now()).is_empty());
    }
    assert_eq!((read(&stdin), read(&stdin)), (Some(b"c".to_vec()), Some(Vec::new())));
    all.leave(1, Instant::now());
    assert!(all.carry(Instant::now()).is_empty());
    all.show(0, b"last");
    all.ended(0);
    let told = all.carry(Instant::now());
    assert!(matches!(told[..], [(2, Reply::Ended { exit_code: 0 })]), "{told:?}");
    assert_eq!((read(&first), read(&second)), (Some(Vec::new()), Some(b"last".to_vec())));
    drop(screen);
}

#[test]
fn an_input_stays_open_unless_it_is_for_once() {
    let mut all = consoles(false);
    let (stdin, their_stdin) = pipe();
    all.started(0, Some(their_stdin));
    let ((_screen, sees), (types, keys)) = (pipe(), pipe());
    all.attach(1, 0, sees, Some(types)).expect("attached");
    drop(keys);
    assert!(all.carry(Instant::now()).is_empty());
    assert_eq!(read(&stdin), None, "there may be more");
}

#[test]
fn who_takes_nothing_is_let_go() {
    let mut all = consoles(false);
    all.started(0, Some(pipe().1));
    let (_screen, sees) = pipe();
    all.attach(1, 0, sees, None).expect("attached");
    let began = Instant::now();
    all.show(0, &vec![b'x'; 1 << 20]);
    assert!(all.carry(began).is_empty() && all.is_held_up(0));
    assert!(all.carry(began + PATIENCE / 2).is_empty());
    let told = all.carry(began + PATIENCE);
    assert!(matches!(told[..], [(1, Reply::Failed { .. })]), "{told:?}");
    assert!(!all.is_held_up(0));
}

#[test]
fn what_waits_for_somebody_has_a_limit() {
    let mut all = consoles(false);
    all.started(0, Some(pipe().1));
    let (_screen, sees) = pipe();
    all.attach(1, 0, sees, None).expect("attached");
    for _ in 0..3 {
        all.show(0, &vec![b'x'; MOST_UNSEEN / 2]);
    }
    assert_eq!(all.0[0].guests[0].unseen.len(), MOST_UNSEEN);
    let told = all.carry(Instant::now());
    assert!(matches!(&told[..], [(1, Reply::Failed { message })] if message.contains("bytes")), "{told:?}");
}

#[test]
fn who_has_gone_is_forgotten_although_the_container_reads_nothing() {
    let mut all = consoles(true);
    let (stdin, their_stdin) = pipe();
    all.started(0, Some(their_stdin));
    let ((_screen, sees), (types, keys)) = (pipe(), pipe());
    all.attach(1, 0, sees, Some(types)).expect("attached");
    let began = Instant::now();
    // More than the container's pipe takes.
    for _ in 0..4 {
        while rustix::io::write(&keys, &vec![b'x'; PIECE]).is_ok() {}
        assert!(all.carry(began).is_empty());
    }
    drop(keys);
    all.leave(1, began);
    assert!(all.carry(began).is_empty() && all.0[0].guests.len() == 1);
    assert_eq!(all.next(), Some(began + PATIENCE));
    assert!(all.carry(began + PATIENCE).is_empty());
    assert!(all.0[0].guests.is_empty() && all.next().is_none());
    // What was taken of it is read, and then there is no more.
    let mut end = false;
    for _ in 0..8 {
        end |= read(&stdin).is_some_and(|piece| piece.is_empty());
        assert!(all.carry(began + PATIENCE).is_empty());
    }
    assert!(end);
}

#[test]
fn there_is_a_most_of_attached_people() {
    let mut all = consoles(false);
    all.started(0, Some(pipe().1));
    for id in 0..MOST_GUESTS as u64 {
        all.attach(id, 0, pipe().1, None).expect("attached");
    }
    assert!(all.attach(MOST_GUESTS as u64, 0, pipe().1, None).is_err());
}
