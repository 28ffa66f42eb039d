//! Memory that goes to another host, and memory that comes here: in which order, and what is never done.

use super::super::vm::Paused;
use super::*;
use roost_proto::cluster::GroupState as Told;
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::Carry;

const MOVE: u64 = 40;
const HERE: Run = Run::Paused(Paused::User);
const COMES: Run = Run::Paused(Paused::Busy);

/// A configuration of two hosts, with a place for saved memory.
fn two_hosts() -> config::Config {
    let text = CONFIG
        .replace("name = \"lab\"", "name = \"lab\"\nsave_dir = \"/save\"")
        .replace("name = \"hv1\"", "name = \"hv1\"\naddress = \"192.0.2.1\"")
        .replace(
            "[[group]]",
            "[[host]]\nname = \"hv2\"\naddress = \"192.0.2.2\"\nlibvirt_remote = \"qemu+tls://192.0.2.2/system\"\n[[group]]",
        );
    config::parse(&text).expect("a good configuration")
}

fn file() -> PathBuf {
    PathBuf::from(format!("/save/web-{MOVE}.memory"))
}

fn migrate() -> VmAction {
    VmAction::Migrate { to: "qemu+tls://192.0.2.2/system".to_owned() }
}

impl World {
    fn travels(&mut self, hold: Hold, epoch: u64, journey: Journey) {
        let changed = self.right.changed + 1;
        self.right = Right { hold, epoch, changed, journey, ..self.right };
        self.set_right();
    }

    fn goes(&mut self, carry: Carry) {
        self.travels(Hold::Owned, 1, Journey::Goes { begun: MOVE, carry, to: HostId::of("hv2") });
    }

    fn taken(&mut self, carry: Carry) {
        self.travels(Hold::Owned, 2, Journey::Taken { begun: MOVE, carry });
    }

    /// The VM runs here, and is to go.
    fn sending(carry: Carry) -> Self {
        let mut world = Self::running("");
        world.engine.reload(&two_hosts(), world.now);
        world.drain();
        world.goes(carry);
        world
    }

    /// It runs elsewhere, and its memory is to come here.
    fn expecting() -> Self {
        let (hold, intent, journey) = (Hold::Elsewhere, Intent::Online, Journey::Comes { begun: MOVE });
        let right = Right { hold, epoch: 1, changed: 1, intent, journey, ..Right::UNKNOWN };
        let mut world = Self::of("", Saved::default(), right);
        world.engine.reload(&two_hosts(), world.now);
        world.drain();
        world.see(Run::Off(Off::Unknown));
        assert_eq!(world.orders, []);
        world
    }

    /// A daemon that was started again finds the VM so.
    fn restarted(self, run: Run) -> Self {
        let right = self.right;
        let mut world = Self::of("", self.stored.expect("stored"), right);
        world.engine.reload(&two_hosts(), world.now);
        world.drain();
        world.life = self.life;
        world.see(run);
        world
    }

    fn told(&self) -> Told {
        self.engine.reports(self.now).remove(0).state
    }

    fn ordered(&self) -> Vec<&VmAction> {
        self.orders.iter().map(|order| &order.action).collect()
    }
}

#[test]
fn it_is_gone_only_when_libvirt_says_so_and_shows_it_off_as_migrated() {
    let mut world = World::sending(Carry::Live);
    let ticket = world.orders[0].ticket;
    world.handle(Input::Libvirt(LibvirtInput::Progress { ticket, percent: 61 }));
    assert_eq!(world.engine.percent("web"), Some(61));
    let time = Duration::from_millis(120);
    world.handle(Input::Libvirt(LibvirtInput::Downtime { ticket, time }));
    world.done(&migrate(), Ok(()));
    assert_eq!(world.told(), Told::Well, "it is shown here still");
    world.stops(Off::Migrated);
    assert_eq!(world.told(), Told::Gone { still_ms: 120 });
    assert_eq!((world.ordered(), world.engine.percent("web")), (vec![], None));
    // The ledger gives it to the target: nothing of it is this host's.
    world.travels(Hold::Elsewhere, 2, Journey::None);
    assert_eq!((world.ordered(), world.told()), (vec![], Told::Down));
}

#[test]
fn what_libvirt_refuses_to_move_stays_and_runs_on() {
    let mut world = World::sending(Carry::Live);
    world.done(&migrate(), Err(ActionError::Failed("host CPU differs".to_owned())));
    world.see(Run::Running);
    assert_eq!(world.told(), Told::Stayed { reason: "host CPU differs".to_owned() });
    world.travels(Hold::Owned, 1, Journey::None);
    assert_eq!((world.told(), world.ordered()), (Told::Well, vec![]));
    assert_eq!(world.group().condition, Condition::Online);
}

#[test]
fn what_is_started_anew_after_a_move_has_not_gone_with_the_next_one() {
    let mut world = World::sending(Carry::Live);
    world.done(&migrate(), Ok(()));
    world.stops(Off::Migrated);
    assert!(matches!(world.told(), Told::Gone { .. }));
    // Its target was lost, and the memory with it.
    world.travels(Hold::Owned, 1, Journey::None);
    assert_eq!(world.ordered(), [&VmAction::Start]);
    let journey = Journey::Goes { begun: MOVE + 1, carry: Carry::Live, to: HostId::of("hv2") };
    world.travels(Hold::Owned, 1, journey);
    world.done(&VmAction::Start, Ok(()));
    assert!(!matches!(world.told(), Told::Gone { .. }), "it runs, and is shown soon: {:?}", world.told());
    world.starts();
    assert_eq!(world.ordered(), [&migrate()]);
}

/// As libvirt 9.0 has it, and as from 9.2 on.
const LEFT: [Run; 3] = [Run::Paused(Paused::Busy), Run::Paused(Paused::Unknown), HERE];

#[test]
fn what_a_failed_migration_leaves_standing_still_goes_on() {
    for left in LEFT {
        let mut world = World::sending(Carry::Live);
        world.done(&migrate(), Err(ActionError::Failed("broken pipe".to_owned())));
        world.see(left);
        world.done(&VmAction::Resume, Ok(()));
        world.see(Run::Running);
        assert!(matches!(world.told(), Told::Stayed { .. }));
    }
}

#[test]
fn what_is_left_standing_still_goes_on_though_the_ledger_ended_the_move_before_that_was_seen() {
    for (left, restarted) in LEFT.into_iter().flat_map(|left| [(left, false), (left, true)]) {
        let mut world = World::sending(Carry::Suspend);
        let saving = DomainView { job: Job::Save, ..world.view(Run::Paused(Paused::Busy)) };
        world.see_view(saving.clone(), None);
        if restarted {
            let right = Right { journey: Journey::None, ..world.right };
            world = World::of("", world.stored.expect("stored"), right);
            world.see_view(saving, None);
        } else {
            let failed = Err(ActionError::Failed("it was not saved".to_owned()));
            world.done(&VmAction::Save { file: file() }, failed);
            world.travels(Hold::Owned, 1, Journey::None);
        }
        assert_eq!(world.ordered(), [] as [&VmAction; 0], "how it ended is not seen yet");
        world.see_view(world.view(left), Some(Happened::Paused(Paused::User)));
        world.done(&VmAction::Resume, Ok(()));
        world.see(Run::Running);
        world.pass(Duration::from_secs(1));
        assert_eq!((world.told(), world.ordered()), (Told::Well, vec![]));
        // What a person does later is a person's.
        world.see_view(world.view(HERE), Some(Happened::Paused(Paused::User)));
        assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    }
}

#[test]
fn what_a_person_paused_does_not_go_on_because_it_was_to_be_moved() {
    let mut world = World::running("");
    world.engine.reload(&two_hosts(), world.now);
    world.drain();
    world.see(HERE);
    world.goes(Carry::Suspend);
    assert!(matches!(world.told(), Told::Stayed { .. }), "{:?}", world.told());
    world.travels(Hold::Owned, 1, Journey::None);
    assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    assert_eq!(world.group().condition, Condition::LeftAlone);
}

#[test]
fn without_a_lease_what_is_on_its_way_is_destroyed_for_libvirt_would_let_it_go_on_by_itself() {
    for answered in [false, true] {
        let mut world = World::sending(Carry::Live);
        let sent = world.orders.pop().expect("it is sent");
        if answered {
            world.handle(Input::Libvirt(LibvirtInput::Done {
                ticket: sent.ticket,
                result: Err(ActionError::TimedOut),
            }));
        }
        let journey = world.right.journey;
        world.travels(Hold::Suspended, 1, journey);
        world.done(&VmAction::Destroy, Ok(()));
        assert!(world.engine.may_run());
        world.stops(Off::Destroyed);
        assert!(!world.engine.may_run());
        let gone = Err(ActionError::Failed("domain is not running".to_owned()));
        world.handle(Input::Libvirt(LibvirtInput::Done { ticket: sent.ticket, result: gone }));
        world.handle(Input::Libvirt(LibvirtInput::Ended { ticket: sent.ticket }));
        assert_eq!(world.ordered(), [] as [&VmAction; 0], "nothing is started without a lease");
        world.travels(Hold::Owned, 1, journey);
        world.pass(Duration::from_secs(6));
        assert!(matches!(world.told(), Told::Stayed { .. }), "{:?}", world.told());
        world.travels(Hold::Owned, 1, Journey::None);
        assert_eq!(world.ordered(), [&VmAction::Start]);
    }
}

#[test]
fn a_migration_that_another_life_of_the_daemon_began_is_no_safer() {
    let mut world = World::running("");
    let view = DomainView { job: Job::Migration, ..world.view(Run::Running) };
    world.see_view(view, None);
    world.hold_still();
    assert_eq!(world.ordered(), [&VmAction::Destroy]);
    let mut world = World::running("");
    let view = DomainView { job: Job::Migration, ..world.view(HERE) };
    world.see_view(view, None);
    assert!(world.engine.may_run(), "though it stands still");
    world.hold_still();
    assert_eq!(world.ordered(), [&VmAction::Destroy]);
}

#[test]
fn what_takes_too_long_or_is_wanted_offline_is_called_back() {
    let mut world = World::sending(Carry::Live);
    let sent = world.orders.pop().expect("it is sent");
    world.pass(Duration::from_secs(599));
    assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    world.pass(Duration::from_secs(1));
    world.done(&VmAction::Abort, Ok(()));
    let result = Err(ActionError::Failed("canceled by client".to_owned()));
    world.handle(Input::Libvirt(LibvirtInput::Done { ticket: sent.ticket, result }));
    world.see(Run::Running);
    let Told::Stayed { reason } = world.told() else { panic!("{:?}", world.told()) };
    assert!(reason.contains("10m") && reason.contains("canceled by client"), "{reason}");

    let mut world = World::sending(Carry::Live);
    world.orders.pop();
    world.operator(GroupOrder::Intent(Intent::Offline));
    assert_eq!(world.ordered(), [&VmAction::Abort]);
}

#[test]
fn a_daemon_that_was_started_again_finds_how_its_move_ended() {
    for (run, carry) in [(Off::Migrated, Carry::Live), (Off::Saved, Carry::Suspend)] {
        let mut world = World::sending(carry).restarted(Run::Off(run));
        assert!(!matches!(world.told(), Told::Gone { .. }), "the life before may have started it again");
        world.pass(Duration::from_secs(11));
        assert_eq!((world.told(), world.ordered()), (Told::Gone { still_ms: 0 }, vec![]));
    }
    let mut world = World::sending(Carry::Live).restarted(Run::Running);
    world.done(&migrate(), Ok(()));
    let world = World::sending(Carry::Live).restarted(Run::Off(Off::Crashed));
    assert!(matches!(world.told(), Told::Stayed { .. }));
}

#[test]
fn what_was_lost_on_its_way_is_started_anew_and_not_taken_for_a_persons_wish() {
    let mut world = World::sending(Carry::Live);
    world.done(&migrate(), Ok(()));
    world.stops(Off::Migrated);
    world.travels(Hold::Owned, 1, Journey::None);
    assert_eq!(world.ordered(), [&VmAction::Start]);
    assert_eq!(world.right.intent, Intent::Online);
}

#[test]
fn what_comes_is_touched_by_nobody_until_it_is_this_hosts() {
    let mut world = World::expecting();
    world.see(COMES);
    world.see(HERE);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    assert!(!world.engine.may_run(), "it stands still");
    assert_eq!(world.group().condition, Condition::Elsewhere);
    assert_eq!(world.events.iter().filter(|event| event.kind == EventKind::Stray).count(), 0);
    world.taken(Carry::Live);
    assert_eq!(world.told(), Told::Coming);
    world.done(&VmAction::Resume, Ok(()));
    world.see(Run::Running);
    assert_eq!(world.told(), Told::Taken);
    world.travels(Hold::Owned, 2, Journey::None);
    assert_eq!((world.told(), world.ordered()), (Told::Well, vec![]));
}

#[test]
fn what_has_come_and_is_not_this_hosts_is_destroyed() {
    for restarted in [false, true] {
        let mut world = World::expecting();
        world.see(HERE);
        if restarted {
            world = world.restarted(HERE);
        }
        world.travels(Hold::Elsewhere, 1, Journey::None);
        world.done(&VmAction::Destroy, Ok(()));
        world.stops(Off::Destroyed);
        assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    }
}

#[test]
fn a_group_that_is_given_without_its_memory_never_runs_from_what_has_come() {
    let mut world = World::expecting();
    world.see(HERE);
    world.travels(Hold::Owned, 2, Journey::None);
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ordered(), [&VmAction::Start]);
}

/// Beginning and end of a move may be learnt at once, and a person may migrate a VM by hand.
#[test]
fn what_comes_though_no_move_is_known_is_destroyed_if_it_is_left_standing_and_not_touched_if_it_runs() {
    for left_standing in [true, false] {
        let right = Right { journey: Journey::None, ..World::expecting().right };
        let mut world = World::of("", Saved::default(), right);
        world.see(Run::Off(Off::Unknown));
        world.see(COMES);
        assert_eq!(world.ordered(), [] as [&VmAction; 0]);
        world.see(if left_standing { HERE } else { Run::Running });
        let destroy = [&VmAction::Destroy];
        assert_eq!(world.ordered(), destroy[..usize::from(left_standing)]);
    }
}

#[test]
fn memory_that_does_not_come_is_given_up() {
    let mut world = World::expecting();
    world.taken(Carry::Live);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.told(), Told::Coming);
    world.pass(Duration::from_secs(2));
    assert!(matches!(world.told(), Told::NotTaken { .. }), "{:?}", world.told());
    assert_eq!(world.ordered(), [] as [&VmAction; 0], "the ledger has to say so first");
    world.travels(Hold::Owned, 2, Journey::None);
    assert_eq!(world.ordered(), [&VmAction::Start]);
}

#[test]
fn saved_memory_runs_only_after_its_file_is_gone_whenever_the_daemon_is_started_again() {
    let (restore, forget) = (VmAction::Restore { file: file() }, VmAction::Forget { file: file() });
    for restarts_at in 0..4 {
        let again = |world: World, step, run| if step == restarts_at { world.restarted(run) } else { world };
        let mut world = World::expecting();
        world.taken(Carry::Suspend);
        world = again(world, 0, Run::Off(Off::Unknown));
        world.done(&restore, Ok(()));
        world.life += 1;
        world = again(world, 1, HERE);
        world.see(HERE);
        world.pass(Duration::from_secs(1));
        world.done(&forget, Ok(()));
        let answered = if restarts_at == 2 {
            world = world.restarted(HERE);
            world.done(&forget, Err(ActionError::AlreadySo));
            true
        } else {
            false
        };
        world.done(&VmAction::Resume, Ok(()));
        world = again(world, 3, Run::Running);
        if restarts_at == 3 {
            world.done(&forget, Err(ActionError::AlreadySo)); // to be certain
        }
        world.see(Run::Running);
        assert_eq!(world.told(), Told::Taken, "{restarts_at} {answered}");
        assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    }
}

#[test]
fn memory_whose_file_cannot_be_taken_away_does_not_run() {
    let mut world = World::expecting();
    world.taken(Carry::Suspend);
    world.done(&VmAction::Restore { file: file() }, Ok(()));
    world.see(HERE);
    for _ in 0..40 {
        world.pass(Duration::from_secs(2));
        if world.orders.is_empty() {
            break;
        }
        world.done(&VmAction::Forget { file: file() }, World::failed_to("remove it"));
    }
    assert!(matches!(world.told(), Told::NotTaken { .. }), "{:?}", world.told());
    world.right.left = Some(MOVE);
    world.travels(Hold::Owned, 2, Journey::None);
    assert_eq!(world.ordered(), [&VmAction::Destroy], "it counts no more");
}

#[test]
fn what_was_restored_and_is_not_shown_yet_is_not_restored_again() {
    let mut world = World::expecting();
    world.taken(Carry::Suspend);
    world.done(&VmAction::Restore { file: file() }, Ok(()));
    world.pass(Duration::from_secs(4));
    assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    world.life += 1;
    world.see(COMES);
    world.done(&VmAction::Forget { file: file() }, Ok(()));
    world.done(&VmAction::Resume, Ok(()));
}

#[test]
fn what_appears_after_it_was_given_up_on_is_destroyed_and_not_taken_for_the_start() {
    let mut world = World::expecting();
    world.taken(Carry::Suspend);
    world.done(&VmAction::Restore { file: file() }, World::failed_to("say how it ended"));
    world.travels(Hold::Owned, 2, Journey::None);
    world.done(&VmAction::Start, Err(ActionError::AlreadySo));
    world.life += 1;
    world.see(COMES);
    world.done(&VmAction::Destroy, Ok(()));
    world.stops(Off::Destroyed);
    world.pass(Duration::from_secs(1));
    world.life += 1;
    world.see(Run::Paused(Paused::Starting));
    world.start_works();
    assert_eq!(world.ordered(), [] as [&VmAction; 0]);
    assert_eq!(world.group().condition, Condition::Online);
}

#[test]
fn memory_that_cannot_be_restored_is_given_up_and_its_file_taken_away() {
    let mut world = World::expecting();
    world.taken(Carry::Suspend);
    world.done(&VmAction::Restore { file: file() }, World::failed_to("open it"));
    assert!(matches!(world.told(), Told::NotTaken { .. }));
    world.right.left = Some(MOVE);
    world.travels(Hold::Owned, 2, Journey::None);
    world.done(&VmAction::Forget { file: file() }, Ok(()));
    assert_eq!(world.ordered(), [&VmAction::Start]);
}

#[test]
fn a_guest_that_comes_back_within_its_boot_is_heard() {
    let mut world = World::well("apps = [\"site\"]");
    let mut config = two_hosts();
    config.groups[0].apps = config::Apps::Named(vec!["site".to_owned()]);
    world.engine.reload(&config, world.now);
    world.drain();
    world.goes(Carry::Live);
    world.done(&migrate(), Ok(()));
    world.stops(Off::Migrated);
    world.travels(Hold::Elsewhere, 2, Journey::None);
    world.travels(Hold::Elsewhere, 2, Journey::Comes { begun: MOVE + 9 });
    world.life += 1;
    world.see(HERE);
    world.travels(Hold::Owned, 3, Journey::Taken { begun: MOVE + 9, carry: Carry::Live });
    world.done(&VmAction::Resume, Ok(()));
    world.see(Run::Running);
    world.travels(Hold::Owned, 3, Journey::None);
    world.guest_boots(1);
    world.report("site", GroupState::Online);
    assert_eq!(world.told(), Told::Well);
}

impl World {
    fn hold_still(&mut self) {
        self.travels(Hold::Suspended, 1, Journey::None);
    }

    fn failed_to(what: &str) -> Result<(), ActionError> {
        Err(ActionError::Failed(format!("cannot {what}")))
    }
}
