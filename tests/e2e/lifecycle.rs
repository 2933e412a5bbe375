//! Starting, reading the configuration again, stopping.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::sip::Dialog;
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::{World, eventually};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn a_good_reload_takes_effect_at_once() {
    let world = World::new();
    let home = Home::new(LISTENERS);
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    caller.receive_response(403);

    // A rule more and a listener more.
    home.write(&format!("{LISTENERS}{RELAY}\n[[listener]]\nname = \"late\"\nbind = \"udp:1.2.3.4:5090\"\n"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    eventually("the new listener is open", || {
        let metrics = viaduct.metrics();
        (metrics.sum("viaduct_listener_sockets", &[("listener", "late")])
            >= metrics.sum("viaduct_shards", &[]))
        .then_some(())
    });
    assert_eq!(viaduct.metrics().sum("viaduct_reloads_total", &[]), 1);
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5090"));
    let invite = callee.receive_request("INVITE");
    callee.answer(&invite, "200 OK");
    assert_eq!(caller.receive_response(200).from, socket("1.2.3.4:5090"));
    viaduct.stop();
}

#[test]
fn a_bad_reload_changes_nothing_and_says_why() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    home.write(&format!("{LISTENERS}{RELAY}egress = \"nowhere\"\n"));
    viaduct.refuses(1);
    assert!(viaduct.log().contains("nowhere"), "{}", viaduct.log());
    one_call(&world);
    assert_eq!(viaduct.metrics().sum("viaduct_reloads_total", &[]), 0);
    viaduct.stop();
}

#[test]
fn a_dialog_outlives_the_rule_that_let_it_in() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");
    let answer = callee.answer(&invite, "200 OK");
    caller.receive_response(200);

    home.write(LISTENERS);
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    let mut dialog = Dialog::of_callee(&invite.message, &answer);
    dialog.send(&callee, "BYE");
    assert_eq!(caller.receive_request("BYE").from, socket("1.2.3.4:5060"));
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    caller.receive_response(403);
    viaduct.stop();
}

#[test]
fn calls_do_not_notice_reloads() {
    const LATE: &str = "[[listener]]\nname = \"late\"\nbind = \"udp:1.2.3.4:5090\"\n";
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    let mut reloads = 0;
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| sipp::calls("call", 200, &public, "1.2.3.4", &private));
        while !calls.is_finished() {
            // A listener and a rule come and go.
            let rule = "[[route]]\nname = \"never\"\nwhen = { ruri_user = '^never$' }\nreject = 486\n";
            let more = if reloads % 2 == 0 { format!("{LATE}{rule}") } else { String::new() };
            home.write(&format!("{LISTENERS}{more}{RELAY}"));
            viaduct.signal(Signal::SIGHUP);
            reloads += 1;
            eventually("the reload is done", || {
                (viaduct.metrics().sum("viaduct_reloads_total", &[]) == reloads).then_some(())
            });
        }
    });
    assert!(reloads > 5, "{reloads} reloads while calls ran");
    let metrics = viaduct.accounted(200 * 6);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), 0);
    viaduct.stop();
}

/// A dialog that only its token lets in outlives a reload whose key file is gone, because that changes nothing.
#[test]
fn a_reload_makes_no_key_file_and_loses_no_dialog() {
    const IN: &str = "[[route]]\nname = \"in\"\nwhen = { ruri_user = '^in$' }\nto = \"request-uri\"\n";
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{IN}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", "sip:in@10.0.0.100:5060"), socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");
    callee.answer(&invite, "200 OK");
    let mut dialog = Dialog::of_caller(&caller.receive_response(200).message);
    let elsewhere = "[keys]\nfile = \"misspelt\"\n";
    let keys = std::fs::read_to_string(home.beside("viaduct.keys")).expect("the keys");
    std::fs::remove_file(home.beside("viaduct.keys")).expect("the keys are gone");
    for (refused, configuration) in [(1, ""), (2, elsewhere)] {
        home.write(&format!("{LISTENERS}{IN}{configuration}"));
        viaduct.refuses(refused);
    }
    assert!(!home.beside("viaduct.keys").exists() && !home.beside("misspelt").exists());
    eventually("it is told", || viaduct.log().contains("misspelt is gone").then_some(()));
    dialog.send(&caller, "BYE");
    callee.receive_request("BYE");

    // Another key in the file is told of, and is what counts.
    let other = "0123456789abcdef0123456789abcdef\n";
    home.put("viaduct.keys", other);
    home.write(&format!("{LISTENERS}{IN}"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    eventually("it is told", || viaduct.log().contains("key that signed until now is gone").then_some(()));
    dialog.send(&caller, "INFO");
    caller.receive_response(481);
    home.put("viaduct.keys", &format!("{other}{keys}"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    dialog.send(&caller, "INFO");
    callee.receive_request("INFO");
    viaduct.stop();
}

/// Told at each reload as long as it is so, and not when it is no longer.
#[test]
fn what_takes_a_start_is_held_against_what_runs() {
    const WORDS: &str = "[engine] spin or coalesce differs from what runs";
    let world = World::new();
    let original = format!("{LISTENERS}{RELAY}[engine]\n");
    let home = Home::new(&original);
    let viaduct = home.start(&world);
    let changed = format!("{LISTENERS}{RELAY}[engine]\nspin = \"10us\"\n");
    for (reloads, (configuration, told)) in (1..).zip([(&changed, 1), (&changed, 2), (&original, 2)]) {
        home.write(configuration);
        viaduct.reload(reloads);
        eventually("the reload is told", || {
            (viaduct.log().matches("reloaded ").count() as u64 == reloads).then_some(())
        });
        assert_eq!(viaduct.log().matches(WORDS).count(), told, "{}", viaduct.log());
    }
    viaduct.stop();
}

#[test]
fn a_dialog_goes_on_where_its_listener_was_removed() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    let invite = callee.receive_request("INVITE");
    callee.answer(&invite, "200 OK");
    let mut dialog = Dialog::of_caller(&caller.receive_response(200).message);

    let moved = LISTENERS
        .replace("name = \"private\"", "name = \"inside\"")
        .replace("10.0.0.4:5060", "10.0.0.4:5070");
    home.write(&format!("{moved}{RELAY}"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    dialog.send(&caller, "BYE");
    let bye = callee.receive_request("BYE");
    assert_eq!(bye.from, socket("10.0.0.4:5070"), "by the automatic choice");
    assert!(bye.message.values("Route").is_empty(), "{}", bye.message);
    callee.answer(&bye, "200 OK");
    caller.receive_response(200);
    viaduct.stop();
}

#[test]
fn one_stop_that_is_signalled_twice_is_one() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    // As a terminal and a service manager do: one to the process, one to its group.
    viaduct.signal(Signal::SIGINT);
    viaduct.stop();
}

#[test]
fn sigterm_ends_it_well_and_a_second_process_may_be_bound_already() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}").replace("9060", "9061"));
    let next = Home::new(&format!("{LISTENERS}{RELAY}"));
    let old = home.spawn(&world);
    eventually("the first one forwards", || old.log().contains(" forwards; ").then_some(()));
    let new = next.start(&world);
    let log = new.log();
    assert!(log.contains("listener public: 1.2.3.4:5060 is open in another process, too"), "{log}");
    assert!(!old.log().contains("in another process"), "{}", old.log());
    old.stop();
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    for _ in 0..20 {
        caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
        callee.receive_request("INVITE");
    }
    new.stop();
}

#[test]
fn a_full_log_disk_ends_nothing() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is full");
    let viaduct = home.spawn_telling(&world, full).ready();
    viaduct.reload(1);
    assert!(viaduct.metrics().sum("viaduct_log_lines_lost_total", &[]) > 0);
    one_call(&world);
    viaduct.stop();
}

/// Not even reloads, and the end does not wait for it either.
#[test]
fn who_reads_the_log_and_stands_still_or_goes_stops_nothing() {
    const ROUNDS: u64 = 20;
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let viaduct = home.spawn_telling(&world, writer).ready();
    // More than a pipe holds: each refusal tells all that is wrong.
    let wrong = "[[route]]\nname = \"wrong\"\nto = \"request-uri\"\negress = \"nowhere\"\n";
    home.write(&format!("{LISTENERS}{}", wrong.repeat(50)));
    for round in 1..=ROUNDS {
        viaduct.refuses(round);
    }
    one_call(&world);
    assert_eq!(viaduct.metrics().sum("viaduct_log_lines_lost_total", &[]), 0, "they wait");
    drop(reader);
    home.write(&format!("{LISTENERS}{RELAY}"));
    let generation = viaduct.generation();
    viaduct.signal(Signal::SIGHUP);
    viaduct.newer_than(generation);
    eventually("lines are lost", || {
        (viaduct.metrics().sum("viaduct_log_lines_lost_total", &[]) > 0).then_some(())
    });
    viaduct.stop();
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_it_from_ending() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let (mut filled, writer) = std::io::pipe().expect("a pipe");
    fill(&writer);
    let viaduct = home.spawn_telling(&world, writer.try_clone().expect("a second handle")).ready();
    viaduct.stop();
    drop(writer);
    let mut all = String::new();
    std::io::Read::read_to_string(&mut filled, &mut all).expect("text");
    assert!(!all.contains("viaduct"), "nothing of it was read: {all}");
}

/// Writes into a pipe until it takes no more.
fn fill(pipe: &std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let old = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL).expect("flags"));
    fcntl(pipe, FcntlArg::F_SETFL(old | OFlag::O_NONBLOCK)).expect("flags can be set");
    while nix::unistd::write(pipe, b"0123456789abcdef").is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(old)).expect("flags can be set");
}

fn one_call(world: &World) {
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    caller.send(&caller.request("INVITE", &callee.uri()), socket("1.2.3.4:5060"));
    callee.receive_request("INVITE");
}

#[test]
fn without_a_file_it_relays_from_private_networks_only() {
    let world = World::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.arg("run").stdin(std::process::Stdio::null());
    let folder = tempfile::tempdir().expect("a folder");
    let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
    command.current_dir(folder.path());
    command.stdout(log.try_clone().expect("a second handle")).stderr(log);
    let program = world.spawn(&mut command);
    eventually("Viaduct is ready", || {
        let metrics = crate::metrics::Metrics::scrape(&world)?;
        let shards = metrics.sum("viaduct_shards", &[]);
        (shards > 0 && metrics.least("viaduct_listener_sockets")? >= shards).then_some(())
    });
    let public = world.public.party("public", "1.2.3.100:5060");
    let private = world.private.party("private", "10.0.0.100:5060");
    private.send(&private.request("INVITE", &public.uri()), socket("10.0.0.4:5060"));
    assert_eq!(public.receive_request("INVITE").from, socket("1.2.3.4:5060"));
    public.send(&public.request("INVITE", &private.uri()), socket("1.2.3.4:5060"));
    public.receive_response(403);
    drop(program);
}
